// The forward of attention in training: the tasks of inference, on keys and values that are not
// cached but stand beside the queries.
#include "backends/cpu/attention_training.h"

#include <algorithm>
#include <vector>

#include "backends/cpu/attention_task.h"
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"
#include "backends/cpu/training_sequence.h"

namespace okapi::cpu {

GatheredKeys gather_keys(ConstTensorView qkv, const HeadLayout& heads, Scratch& scratch) {
  const int64_t n_rows = qkv.shape[0];
  const int64_t d = heads.head_dim;
  const int64_t n_gathered = 2 * heads.n_kv_heads;  // key heads, then value heads, as in the row
  auto* const to =
      scratch.get<float>(ScratchUse::attention_keys, static_cast<size_t>(n_rows * n_gathered * d));
  parallel_ranges(n_rows, 1, n_rows * n_gathered * d, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const from = floats(qkv) + row * qkv.strides[0] + heads.n_heads * d;
      for (int64_t head = 0; head < n_gathered; ++head) {
        std::copy_n(from + head * d, d, to + (head * n_rows + row) * d);
      }
    }
  });
  return {to, to + heads.n_kv_heads * n_rows * d};
}

void CpuStream::attention_forward(ConstTensorView qkv, const HeadLayout& heads,
                                  std::span<const TrainingSequence> sequences, TensorView out,
                                  TensorView log_sums) {
  const int64_t n_rows = qkv.shape[0];
  check_heads("attention_forward", heads);
  check_matrix(qkv, n_rows, heads.row_width(), "attention_forward: qkv");
  check_matrix(out, n_rows, heads.n_heads * heads.head_dim, "attention_forward: out");
  check_matrix(log_sums, n_rows, heads.n_heads, "attention_forward: log_sums");
  check_training_sequences("attention_forward", n_rows, heads, sequences);
  if (n_rows == 0) return;

  // All rows are one page; a sequence's begins at its own first row.
  const ThreadLimit limit(shared_->n_threads);
  const KvLayout layout{1, heads.n_kv_heads, heads.head_dim, n_rows, DType::f32};
  const GatheredKeys gathered = gather_keys(qkv, heads, scratch_);
  std::vector<void*> pages(sequences.size());
  std::vector<KvSequence> cached(sequences.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    const TrainingSequence& sequence = sequences[s];
    pages[s] = gathered.keys + sequence.first_row * heads.head_dim;
    cached[s] = {sequence.first_row, sequence.n_tokens, 0, &pages[s], 1};
    cached[s].score_scale = sequence.score_scale;
  }
  const AttentionCall call{.kernels = shared_->kernels,
                           .layout = layout,
                           .layer = 0,
                           .group = heads.n_heads / heads.n_kv_heads,
                           .qkv = floats(qkv),
                           .qkv_stride = qkv.strides[0],
                           .out = floats(out),
                           .out_stride = out.strides[0],
                           .log_sums = floats(log_sums),
                           .log_sums_stride = log_sums.strides[0]};
  run_attention(call, shared_->n_threads, scratch_, cached);
}

}  // namespace okapi::cpu
