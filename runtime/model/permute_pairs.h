// Reorders the rows of a query or key projection from one pair layout to another.
#pragma once

#include "runtime/model/host_tensor.h"
#include "runtime/model/model_config.h"

namespace okapi {

/// A copy of `weight` [n_heads * head_dim, columns] (any dtype, contiguous) whose rows, head by
/// head, stand in layout `to` instead of `from`. Half-split row j (j < head_dim / 2) is interleaved
/// row 2j, and half-split row j + head_dim / 2 is interleaved row 2j + 1. Throws invalid_argument
/// when the shape does not fit.
HostTensor permute_pairs(ConstTensorView weight, int64_t n_heads, int64_t head_dim, PairLayout from,
                         PairLayout to);

}  // namespace okapi
