// Products of a weight with few rows: decoding, bound by reading the weight once.
#pragma once

#include "backends/backend.h"
#include "backends/cuda/queue.h"

namespace okapi::cuda {

/// out [m, n] = x [m, k] times w [n, k] transposed for m up to kFewRows and any mixture of f32 and
/// bf16. A row's result depends on that row and the weight alone, to the bit, however many stand
/// beside it.
void multiply_few_rows(Queue& queue, ConstTensorView x, const void* w, DType weight_dtype,
                       TensorView out);

}  // namespace okapi::cuda
