// A plugin's vtable as this host reads it: what the plugin's own struct_size covers, zero beyond.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "runtime/base/error.h"

namespace okapi {

/// `least_bytes` is up to the end of the last function that must be there.
template <typename Table>
Table read_plugin_table(const Table* from, size_t least_bytes, const std::string& component) {
  if (from == nullptr) {
    throw Error(Code::invalid_argument, "offers the extension, but has no table for it")
        .in(component);
  }
  if (from->struct_size < least_bytes) {
    throw Error(Code::invalid_argument, "the table has " + std::to_string(from->struct_size) +
                                            " bytes, wanted at least " +
                                            std::to_string(least_bytes))
        .in(component)
        .field("struct_size");
  }
  Table table{};
  std::memcpy(&table, from, std::min<size_t>(from->struct_size, sizeof table));
  return table;
}

}  // namespace okapi
