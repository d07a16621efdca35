// "did you mean": the known word nearest to one that is not known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace okapi::api {

/// The known word within two edits (one for short words) of `word`; "" if there is none.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

/// `unknown <what> 'lenght' (did you mean 'length'?); known are length, seed`
std::string unknown_word_message(const std::string& what, std::string_view word,
                                 const std::vector<std::string>& known);

}  // namespace okapi::api
