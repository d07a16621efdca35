// At which length a scheme that depends on length is evaluated.
//
// The table of such a scheme stands still while the cache fills: it is evaluated at one declared
// length, and the law of session.h holds at that length. A sequence that outgrows it is computed
// again from its token ids under the table of a new one:
//
// - Given: the caller's number. Outgrown, it grows by a quarter, at least by 256 tokens and to what
//   is needed, so that decoding on does not compute everything again at each token.
// - Auto: the first call's tokens, or what expect() announced: prompt and output together. It grows
//   to what expect() announces later, or else like a given one.
// - Follow: the tokens so far, at every call: what a program without a cache computes.
//
// When the tables at both lengths are equal (dynamic NTK below the trained length, LongRoPE on the
// same side of it) nothing is computed again.
#pragma once

#include <cstdint>

namespace okapi {

/// @param option    SessionOptions::rope_length
/// @param current   in force; 0: none yet
/// @param n_tokens  that the sequence will hold after this call
/// @param expected  that the caller announced it will hold in the end; 0: nothing announced
/// @param least     under follow: no less than this
int64_t declared_length(int64_t option, int64_t current, int64_t n_tokens, int64_t expected,
                        int64_t least = 0);

}  // namespace okapi
