// Which parameters of a model a word or a pattern means.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace okapi {

/// `*` stands for any characters, none included; `?` for one. Everything else stands for itself.
bool matches_pattern(std::string_view pattern, std::string_view name);

/// `all`: every tensor of the model; `lora`: the adapter's; `norm`: the model's normalisation
/// weights; `embed`: embedding table and output projection; anything else is a pattern.
bool selects_parameter(std::string_view word, std::string_view name, bool is_adapter);

/// Whether any of the words does.
bool selects_parameter(const std::vector<std::string>& words, std::string_view name,
                       bool is_adapter);

}  // namespace okapi
