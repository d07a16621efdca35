#include "runtime/model/permute_pairs.h"

#include <cstring>

#include "runtime/base/error.h"

namespace okapi {

namespace {

/// The row, within its head, of the first or second channel of a pair.
int64_t row_of(PairLayout layout, int64_t pair, int64_t half, int64_t second) {
  return layout == PairLayout::half_split ? pair + second * half : 2 * pair + second;
}

}  // namespace

HostTensor permute_pairs(ConstTensorView weight, int64_t n_heads, int64_t head_dim, PairLayout from,
                         PairLayout to) {
  const bool fits = weight.rank == 2 && n_heads > 0 && head_dim > 0 && head_dim % 2 == 0 &&
                    weight.shape[0] == n_heads * head_dim && weight.strides[1] == 1 &&
                    weight.strides[0] == weight.shape[1];
  if (!fits) {
    throw Error(Code::invalid_argument, "wanted a contiguous matrix of " +
                                            std::to_string(n_heads * head_dim) + " rows, found " +
                                            std::to_string(weight.rank > 0 ? weight.shape[0] : 0))
        .in("model");
  }

  const size_t row_bytes = static_cast<size_t>(weight.shape[1]) * size_of(weight.dtype);
  const auto* source = static_cast<const std::byte*>(weight.data);
  HostTensor result(weight.dtype, {weight.shape[0], weight.shape[1]});
  auto* target = static_cast<std::byte*>(result.view().data);

  const int64_t half = head_dim / 2;
  for (int64_t head = 0; head < n_heads; ++head) {
    for (int64_t pair = 0; pair < half; ++pair) {
      for (int64_t second = 0; second < 2; ++second) {
        const int64_t row_from = head * head_dim + row_of(from, pair, half, second);
        const int64_t row_to = head * head_dim + row_of(to, pair, half, second);
        std::memcpy(target + static_cast<size_t>(row_to) * row_bytes,
                    source + static_cast<size_t>(row_from) * row_bytes, row_bytes);
      }
    }
  }
  return result;
}

}  // namespace okapi
