// Checks a serialized sentencepiece model before sentencepiece sees it: the library trusts parts of
// its input, and on a corrupt model would print, read out of bounds or end the process.
#pragma once

#include <string>
#include <string_view>

namespace okapi {

/// Throws data_loss naming the file, the field ("pieces[12].score") and its byte offset.
void check_model_proto(std::string_view bytes, const std::string& file);

/// The table of normalization rules inside such a model: a double-array trie and the replacement
/// texts it points to. Returns what is wrong with it, or "" when sentencepiece can walk it for any
/// text without leaving it.
std::string find_charsmap_fault(std::string_view charsmap);

}  // namespace okapi
