// Matrices from one dtype to the other.
#pragma once

#include "backends/cuda/queue.h"
#include "backends/tensor_view.h"

namespace okapi::cuda {

/// to = from, both [rows, columns] of f32 or bf16, with rows apart.
void convert(Queue& queue, const ConstTensorView& from, const TensorView& to);

}  // namespace okapi::cuda
