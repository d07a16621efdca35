// The way to cuDNN's attention: keys and values of a sequence are brought from their pages into one
// piece of memory, raw keys rotated on the way. That moves as many bytes as the attention itself
// reads once, little beside the work of a long prompt.
#include <algorithm>
#include <utility>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

// Shapes come in steps, so that the library's plans, which take milliseconds to make, serve again.
// What is left of a prompt goes to our own kernel.
constexpr int64_t kQueryStep = 512;
constexpr int64_t kMostHeadDim = 128;

// A prompt that goes on after some other number of keys has a shape of its own; making its plan
// takes as long as our own kernel takes for so many of its tokens.
constexpr int64_t kWorthAPlan = 4096;

/// One block per token and half (keys, values): out [K, n_keys, D].
__global__ void gather_pages_kernel(PageLayout layout, SequenceTable table, Bf16* keys,
                                    Bf16* values, int64_t head_stride) {
  wait_for_previous_kernel();
  const SequenceRow sequence = table.rows[0];
  const int key = static_cast<int>(blockIdx.x);
  const bool is_value = blockIdx.y == 1;
  const int d = layout.head_dim;
  const int page = key / layout.page_tokens;
  const int within = key - page * layout.page_tokens;
  const std::byte* const at = table.pages[sequence.first_page + page] + layout.layer_offset +
                              (is_value ? layout.half_bytes : 0);
  const auto* const from = reinterpret_cast<const Bf16*>(at) + int64_t{within} * d;
  const int64_t from_stride = int64_t{layout.page_tokens} * d;
  Bf16* const to = (is_value ? values : keys) + int64_t{key} * d;

  if (!is_value && sequence.keys_are_raw != 0) {
    const int half = d / 2;
    for (int i = static_cast<int>(threadIdx.x); i < layout.n_kv_heads * half; i += blockDim.x) {
      const int head = i / half;
      const int pair = i % half;
      const float c = sequence.key_cos[int64_t{key} * sequence.key_cos_stride + pair];
      const float s = sequence.key_sin[int64_t{key} * sequence.key_sin_stride + pair];
      const float x = to_float(from[head * from_stride + pair]);
      const float y = to_float(from[head * from_stride + pair + half]);
      to[head * head_stride + pair] = from_float<Bf16>(x * c - y * s);
      to[head * head_stride + pair + half] = from_float<Bf16>(y * c + x * s);
    }
    return;
  }
  const int pieces = d / 8;
  for (int i = static_cast<int>(threadIdx.x); i < layout.n_kv_heads * pieces; i += blockDim.x) {
    const int head = i / pieces;
    const int column = i % pieces * 8;
    *reinterpret_cast<uint4*>(to + head * head_stride + column) =
        *reinterpret_cast<const uint4*>(from + head * from_stride + column);
  }
}

}  // namespace

int64_t CudaStream::attend_by_cudnn(ConstTensorView qkv, const KvLayout& layout, int64_t layer,
                                    int64_t n_heads, const KvSequence& sequence,
                                    const StoredRows& stored, TensorView out) {
  if (shared_->cudnn == nullptr || sequence.n_tokens < kQueryStep ||
      layout.head_dim > kMostHeadDim || !is_aligned(out)) {
    return 0;
  }
  if (sequence.n_cached % kQueryStep != 0 && sequence.n_tokens < kWorthAPlan) return 0;
  AttentionShape shape;
  shape.n_queries = sequence.n_tokens / kQueryStep * kQueryStep;
  shape.n_keys = sequence.n_cached + shape.n_queries;
  shape.n_heads = n_heads;
  shape.n_kv_heads = layout.n_kv_heads;
  shape.head_dim = layout.head_dim;
  shape.query_stride = qkv.strides[0];
  shape.out_stride = out.strides[0];
  const bool lies_in_rows =
      stored.qkv == qkv.data && stored.layer == layer && sequence.n_cached == 0 &&
      std::find(stored.first_and_n.begin(), stored.first_and_n.end(),
                std::pair(sequence.first_row, sequence.n_tokens)) != stored.first_and_n.end();
  shape.head_stride = lies_in_rows ? layout.head_dim : shape.n_keys * layout.head_dim;
  shape.key_stride = lies_in_rows ? qkv.strides[0] : layout.head_dim;
  shape.scale = sequence.score_scale;
  const int64_t workspace_bytes = shared_->cudnn->workspace_bytes(shape);
  if (workspace_bytes < 0) return 0;

  void* const workspace =
      scratch(cudnn_workspace_, static_cast<size_t>(std::max<int64_t>(workspace_bytes, 1)));
  const size_t element = sizeof(Bf16);
  const auto* const queries =
      static_cast<const Bf16*>(qkv.data) + sequence.first_row * qkv.strides[0];
  const Bf16* keys = queries + n_heads * layout.head_dim;
  const Bf16* values = keys + layout.n_kv_heads * layout.head_dim;
  if (!lies_in_rows) {
    const auto n_elements = static_cast<size_t>(shape.head_stride * layout.n_kv_heads);
    auto* const gathered =
        static_cast<Bf16*>(scratch(contiguous_kv_, 2 * n_elements * sizeof(Bf16)));
    const KvSequence* const only = &sequence;
    const SequenceTable table = tables_.stage(queue_, {&only, 1});
    constexpr unsigned kThreads = 128;
    queue_.launch(gather_pages_kernel, dim3(static_cast<unsigned>(shape.n_keys), 2), kThreads, 0,
                  page_layout(layout, layer), table, gathered, gathered + n_elements,
                  shape.head_stride);
    keys = gathered;
    values = gathered + n_elements;
  }
  auto* const to = static_cast<std::byte*>(out.data) +
                   static_cast<size_t>(sequence.first_row * out.strides[0]) * element;
  shared_->cudnn->attend(shape, {queries, keys, values}, to, workspace, queue_.stream());
  return shape.n_queries;
}

}  // namespace okapi::cuda
