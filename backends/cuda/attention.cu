// Which kernel attends to which sequences of a call. Where all have few queries, the rotation that
// waits for this call is done by the same kernel.
//
//   few queries per sequence     parts of the keys side by side, then merged
//   a prompt, large, bf16        cuDNN, over keys and values brought together (cudnn.h)
//   a prompt otherwise, bf16     own kernel on the tensor cores
//   f32, or an odd head size     own kernel on the plain units
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "backends/cuda/attention.h"
#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"

namespace okapi::cuda {

namespace {

/// Rounded up, so that the launches of growing sequences stay the same for a while.
int64_t parts_for(int64_t n_keys, int64_t part_length) {
  constexpr int64_t kStep = 4;
  const int64_t n_parts = (n_keys + part_length - 1) / part_length;
  return n_parts <= 1 ? 1 : (n_parts + kStep - 1) / kStep * kStep;
}

}  // namespace

uint32_t* CudaStream::arrival_counters(size_t count) {
  const size_t bytes = count * sizeof(uint32_t);
  if (!arrivals_.holds(bytes)) {
    scratch(arrivals_, 2 * bytes);
    check(cudaMemsetAsync(arrivals_.data(), 0, 2 * bytes, queue_.stream()), "cudaMemsetAsync");
  }
  return static_cast<uint32_t*>(arrivals_.data());
}

int32_t CudaStream::common_part_keys(std::span<const KvSequence* const> sequences,
                                     const KvLayout& layout, int64_t most_rows) {
  CommonParts wanted = {layout.head_dim, layout.n_kv_heads, most_rows, {}};
  for (const KvSequence* sequence : sequences) {
    const int64_t n_keys = sequence->n_cached + sequence->n_tokens;
    wanted.n_tiles.push_back((n_keys + kPartTile - 1) / kPartTile);
  }
  if (wanted == common_parts_) return common_part_keys_;
  const FewAttentionBlocks blocks =
      few_attention_blocks(layout.head_dim, most_rows, shared_->size.n_processors);
  common_part_keys_ =
      static_cast<int32_t>(tiles_per_part(wanted.n_tiles, layout.n_kv_heads, blocks) * kPartTile);
  common_parts_ = std::move(wanted);
  return common_part_keys_;
}

void CudaStream::attention(ConstTensorView qkv, int64_t n_heads, const KvLayout& layout,
                           int64_t layer, std::span<const KvSequence> sequences, TensorView out) {
  const int64_t d = layout.head_dim;
  check_matrix(qkv, qkv.shape[0], (n_heads + 2 * layout.n_kv_heads) * d, "attention: qkv");
  check_matrix(out, qkv.shape[0], n_heads * d, "attention: out");
  check_same_dtype(qkv, out, "attention: qkv and out");
  check_sequences("attention", qkv.shape[0], n_heads, layout, qkv.dtype, layer, sequences);
  if (sequences.empty()) return;

  const CurrentDevice current(shared_->device);
  const StoredRows stored = std::exchange(stored_rows_, {});
  const PageLayout pages = page_layout(layout, layer);
  const bool on_tensor_cores = qkv.dtype == DType::bf16 && d % 8 == 0 && is_aligned(qkv) &&
                               out.strides[0] % 2 == 0 &&
                               reinterpret_cast<uintptr_t>(out.data) % 4 == 0;
  std::optional<WaitingRotation> rotation;
  if (on_tensor_cores && takes_rotation(qkv, n_heads, pages, sequences)) {
    rotation.swap(waiting_rotation_);
  }
  begin(qkv.shape[0]);
  const int64_t group = n_heads / layout.n_kv_heads;
  AttentionInput input = {};
  input.queries = qkv.data;
  input.query_stride = qkv.strides[0];
  input.out = out.data;
  input.out_stride = out.strides[0];
  input.layout = pages;
  input.group = static_cast<int32_t>(group);
  input.reads_ahead = n_stores(layer) <= 1 ? 1 : 0;

  std::vector<const KvSequence*> few;
  std::vector<const KvSequence*> many;
  std::vector<KvSequence> ends;  // of prompts that cuDNN has the beginning of
  ends.reserve(sequences.size());
  int64_t most_few_tokens = 0;
  int64_t most_tokens = 0;
  for (const KvSequence& given : sequences) {
    const KvSequence* sequence = &given;
    const int64_t n_done =
        on_tensor_cores ? attend_by_cudnn(qkv, layout, layer, n_heads, given, stored, out) : 0;
    if (n_done == given.n_tokens) continue;
    if (n_done > 0) {
      ends.push_back(given);
      ends.back().first_row += n_done;
      ends.back().n_cached += n_done;
      ends.back().n_tokens -= n_done;
      sequence = &ends.back();
    }
    if (sequence->n_tokens <= kFewTokens) {
      few.push_back(sequence);
      most_few_tokens = std::max(most_few_tokens, sequence->n_tokens);
    } else {
      many.push_back(sequence);
      most_tokens = std::max(most_tokens, sequence->n_tokens);
    }
  }

  if (!few.empty()) {
    const int64_t most_rows = most_few_tokens * group;
    AttentionParts parts;
    if (on_tensor_cores && few.size() > 1 && !is_row_invariant_) {
      parts.n_keys = common_part_keys(few, layout, most_rows);
    }
    for (const KvSequence* sequence : few) {
      const int64_t n_keys = sequence->n_cached + sequence->n_tokens;
      const int64_t length = parts.n_keys > 0 ? parts.n_keys
                                              : part_keys(static_cast<int>(n_keys),
                                                          static_cast<int>(layout.n_kv_heads));
      parts.n_parts = std::max(parts.n_parts, static_cast<int32_t>(parts_for(n_keys, length)));
    }
    parts.n_rows = static_cast<int32_t>(most_rows);
    if (parts.n_parts > 1) {
      const auto n_slots = few.size() * static_cast<size_t>(layout.n_kv_heads) *
                           static_cast<size_t>(parts.n_parts) * static_cast<size_t>(parts.n_rows);
      const size_t bytes = n_slots * (static_cast<size_t>(d) * sizeof(float) + sizeof(float2));
      const size_t n_counters =
          few.size() * static_cast<size_t>(n_heads) * static_cast<size_t>(most_few_tokens);
      // Before the table is staged: growing waits for the queue, which ends what is staged, also
      // for rotation.
      const bool grows =
          !attention_parts_.holds(bytes) || !arrivals_.holds(n_counters * sizeof(uint32_t));
      if (rotation && grows) {
        rotate_now(*rotation, false);
        rotation.reset();
      }
      auto* const memory = static_cast<std::byte*>(scratch(attention_parts_, bytes));
      parts.states = reinterpret_cast<float2*>(memory);
      parts.outputs = reinterpret_cast<float*>(memory + n_slots * sizeof(float2));
      parts.arrivals = arrival_counters(n_counters);
    }
    input.rotates = rotation ? 1 : 0;
    input.table = tables_.stage(queue_, few);
    input.n_sequences = static_cast<int32_t>(few.size());
    if (on_tensor_cores) {
      launch_few_attention(queue_, input, parts, most_rows, shared_->size.n_processors);
    } else {
      launch_generic_attention(queue_, input, qkv.dtype, parts, most_rows);
      launch_attention_merge(queue_, input, qkv.dtype, parts);
    }
  }
  if (!many.empty()) {
    input.table = tables_.stage(queue_, many);
    input.n_sequences = static_cast<int32_t>(many.size());
    if (on_tensor_cores) {
      launch_prefill_attention(queue_, input, most_tokens * group);
    } else {
      launch_generic_attention(queue_, input, qkv.dtype, AttentionParts(), most_tokens * group);
    }
  }
}

}  // namespace okapi::cuda
