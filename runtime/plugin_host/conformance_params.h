// What a plugin is opened with when nobody says: for checks that run over any plugin.
#pragma once

#include <memory>

#include "runtime/base/json.h"
#include "runtime/plugin_host/host_table.h"
#include "runtime/plugin_host/param_schema.h"

namespace okapi {

/// A value for each parameter that must be given, within its limits; the rest stays at its
/// defaults. Lists get `list_length` elements.
Json example_params(const ParamSchema& schema, size_t list_length);

/// One token per byte, the byte plus 3; 1 begins a sequence, 2 ends it.
std::shared_ptr<const TokenizerFunctions> byte_tokenizer();

}  // namespace okapi
