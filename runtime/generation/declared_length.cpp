#include "runtime/generation/declared_length.h"

#include <algorithm>

#include "runtime/generation/session.h"

namespace okapi {

int64_t declared_length(int64_t option, int64_t current, int64_t n_tokens, int64_t expected,
                        int64_t least) {
  constexpr int64_t kLeastGrowth = 256;
  if (option == kRopeLengthFollow) return std::max(n_tokens, least);

  const bool automatic = option == kRopeLengthAuto;
  const int64_t wanted = automatic ? std::max(n_tokens, expected) : n_tokens;
  if (current == 0) current = automatic ? wanted : option;
  if (wanted <= current) return current;
  if (automatic && expected >= n_tokens) return expected;
  return std::max(n_tokens, current + std::max(current / 4, kLeastGrowth));
}

}  // namespace okapi
