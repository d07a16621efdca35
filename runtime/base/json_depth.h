// Depth of JSON text, for parsers that have no limit of their own.
#pragma once

#include <string_view>

namespace okapi {

/// Whether no object or array of the text lies within more than `limit` - 1 others. Says nothing of
/// whether the text is JSON.
bool nests_within(std::string_view text, int limit = 64);

}  // namespace okapi
