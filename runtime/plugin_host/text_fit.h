// How many pieces of text fit into a number of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/plugin_host/host_table.h"

namespace okapi {

struct TextFit {
  int64_t n_pieces = 0;
  int64_t n_tokens = 0;  ///< of head, that many pieces and tail, encoded as one text
};

/// The most pieces with which the text has at most `max_tokens` tokens. Throws out_of_range when
/// head and tail alone have more. Supposes that a piece more is never a token less.
TextFit fit_pieces(const TokenizerFunctions& tokenizer, std::string_view head,
                   std::span<const char* const> pieces, std::string_view tail, bool add_bos,
                   int64_t max_tokens);

}  // namespace okapi
