// The plugins of this build, found and loaded as a user's are.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/model/rotary/rope_table.h"
#include "runtime/plugin_host/plugin_host.h"

namespace okapi::test {

/// Where the build puts its plugins.
std::filesystem::path plugin_folder();

/// A host of its own, over the build's plugins alone.
std::shared_ptr<PluginHost> make_plugin_host();

/// head_dim 8, base 10000, trained for 2048 tokens, declared length 8192: the reference values'.
RopeGeometry reference_geometry();

std::shared_ptr<const Rope> parse_rope(const std::string& spec,
                                       const RopeGeometry& geometry = reference_geometry());
RopeTable load_rope(const std::string& spec, const RopeGeometry& geometry = reference_geometry());

/// What `run` throws, which must be an Error; fails the test when it throws none.
template <typename Run>
Error error_of(Run&& run) {
  try {
    run();
  } catch (const Error& error) {
    return error;
  }
  return {Code::ok, "(nothing was thrown)"};
}

/// The spec of a scheme with the parameters that must be given, within their limits.
std::string example_spec(const PluginMetadata& plugin, int64_t n_pairs);

}  // namespace okapi::test
