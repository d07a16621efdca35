// Names that people type: which are well formed, and which known one a mistyped one resembles.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace okapi {

/// Letters, digits, '_' and '-', at least one: a short plugin name or a parameter.
bool is_plain_name(std::string_view name);

/// As is_plain_name, with dots between the parts: a full plugin id.
bool is_plugin_id(std::string_view name);

/// "; did you mean x?", or "" when nothing is close (two edits, less for short names).
std::string did_you_mean(std::string_view name, const std::vector<std::string>& known);

/// "a, b, c", or "none".
std::string join_names(const std::vector<std::string>& names);

}  // namespace okapi
