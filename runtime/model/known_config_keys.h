// The keys of a Hugging Face config.json that this engine does not compute with: which of them are
// harmless, and which would change the numbers unless they hold the one value that switches their
// feature off.
#pragma once

#include "runtime/base/json.h"

namespace okapi {

/// Marks the harmless keys as known. Throws unimplemented, naming the key and what was found, when
/// the configuration asks for something a plain Llama does not do.
void check_other_config_keys(JsonFields& config);

}  // namespace okapi
