// Writes a rope into a config.json, the reverse of rope_from_config.
#pragma once

#include "runtime/base/json.h"

namespace okapi {

class Rope;

/// `config`, the object of a config.json, with `rope` in place of the scheme it names. A scheme
/// that transformers knows is written in its words; any other, and a list of several, as
/// {"rope_type": "okapi", "spec": ...}, so that transformers refuses the folder instead of
/// misreading it.
Json config_with_rope(Json config, const Rope& rope);

}  // namespace okapi
