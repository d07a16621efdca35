// Rotation of whole sequences where they stand, and its transpose for gradients.
#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"
#include "backends/training_checks.h"

namespace okapi::cuda {

namespace {

/// Sequences along y. A thread has kWidth pairs of one head of one token.
template <typename T, int kWidth>
__global__ void rotate_kernel(T* qkv, int64_t stride, int n_heads, int n_rotated, int d,
                              const SequenceRow* sequences, float sign) {
  wait_for_previous_kernel();
  const SequenceRow sequence = sequences[blockIdx.y];
  const int half = d / 2;
  const int per_head = half / kWidth;
  const int per_token = n_rotated * per_head;
  const int64_t item = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  const int64_t token = item / per_token;
  if (token >= sequence.n_tokens) return;
  const int within = static_cast<int>(item - token * per_token);
  const int head = within / per_head;
  const int pair = (within - head * per_head) * kWidth;
  const bool is_query = head < n_heads;
  const float* cosines = is_query ? sequence.query_cos : sequence.key_cos;
  const float* sines = is_query ? sequence.query_sin : sequence.key_sin;
  if (cosines == nullptr) return;
  cosines += token * (is_query ? sequence.query_cos_stride : sequence.key_cos_stride) + pair;
  sines += token * (is_query ? sequence.query_sin_stride : sequence.key_sin_stride) + pair;
  T* const at = qkv + (sequence.first_row + token) * stride + int64_t{head} * d + pair;
  if constexpr (kWidth == 8) {
    Eight x = load_eight(at);
    Eight y = load_eight(at + half);
    const Eight c = load_eight(cosines);
    const Eight s = load_eight(sines);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float sine = sign * s.at[e];
      const float first = x.at[e] * c.at[e] - y.at[e] * sine;
      y.at[e] = y.at[e] * c.at[e] + x.at[e] * sine;
      x.at[e] = first;
    }
    store_eight(at, x);
    store_eight(at + half, y);
  } else {
    const float x = to_float(at[0]);
    const float y = to_float(at[half]);
    const float sine = sign * sines[0];
    at[0] = from_float<T>(x * cosines[0] - y * sine);
    at[half] = from_float<T>(y * cosines[0] + x * sine);
  }
}

bool goes_by_eight(const RotaryView& rotation) {
  return rotation.empty() || (is_aligned(rotation.cos) && is_aligned(rotation.sin));
}

}  // namespace

void CudaStream::rotate(TensorView qkv, const HeadLayout& heads,
                        std::span<const TrainingSequence> sequences, bool backward) {
  check_heads("rotate", heads);
  check_matrix(qkv, qkv.shape[0], heads.row_width(), "rotate: qkv");
  check_training_sequences("rotate", qkv.shape[0], heads, sequences);
  if (sequences.empty()) return;

  const CurrentDevice current(shared_->device);
  begin_training();
  const SequenceTable table = tables_.stage(queue_, sequences);
  const bool by_eight =
      heads.head_dim % 16 == 0 && is_aligned(qkv) &&
      std::all_of(sequences.begin(), sequences.end(), [](const TrainingSequence& sequence) {
        return goes_by_eight(sequence.query_rotation) && goes_by_eight(sequence.key_rotation);
      });
  int64_t most_tokens = 0;
  for (const TrainingSequence& sequence : sequences) {
    most_tokens = std::max(most_tokens, sequence.n_tokens);
  }
  const int64_t n_rotated = heads.n_heads + heads.n_kv_heads;
  const int64_t n_items = most_tokens * n_rotated * (heads.head_dim / (by_eight ? 16 : 2));
  constexpr int64_t kThreads = 256;
  constexpr size_t kMostSequences = 32768;  // of one launch: the grid's second size
  const auto run = [&](auto* rows) {
    using T = std::decay_t<decltype(*rows)>;
    auto* kernel = &rotate_kernel<T, 1>;
    if (by_eight) kernel = &rotate_kernel<T, 8>;
    for (size_t first = 0; first < sequences.size(); first += kMostSequences) {
      const dim3 grid(static_cast<unsigned>((n_items + kThreads - 1) / kThreads),
                      static_cast<unsigned>(std::min(kMostSequences, sequences.size() - first)));
      queue_.launch(kernel, grid, static_cast<unsigned>(kThreads), 0, rows, qkv.strides[0],
                    static_cast<int>(heads.n_heads), static_cast<int>(n_rotated),
                    static_cast<int>(heads.head_dim), table.rows + first, backward ? -1.0F : 1.0F);
    }
  };
  if (qkv.dtype == DType::bf16) {
    run(static_cast<Bf16*>(qkv.data));
  } else {
    run(static_cast<float*>(qkv.data));
  }
}

}  // namespace okapi::cuda
