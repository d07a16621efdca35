// Rotary position encoding (Su et al. 2021, arXiv:2104.09864), and the way of keys and values into
// the cache.
#include <algorithm>
#include <vector>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/rotary.cuh"

namespace okapi::cuda {

namespace {

template <typename T>
__device__ T* page_row(const PageLayout& layout, const std::byte* const* pages, int64_t first_page,
                       int kv_head, int index) {
  const int page = index / layout.page_tokens;
  const int within = index - page * layout.page_tokens;
  auto* const keys = const_cast<std::byte*>(pages[first_page + page]) + layout.layer_offset;
  return reinterpret_cast<T*>(keys) +
         (int64_t{kv_head} * layout.page_tokens + within) * layout.head_dim;
}

/// One block per token and sequence. Elements of a head's two halves are taken kWidth at a time.
template <typename T, int kWidth>
__global__ void rotate_and_store_kernel(T* qkv, int64_t stride, int n_heads, PageLayout layout,
                                        SequenceTable table, int keeps_rows) {
  const SequenceRow sequence = table.rows[blockIdx.y];
  wait_for_previous_kernel();
  const int token = static_cast<int>(blockIdx.x);
  if (token >= sequence.n_tokens) return;
  T* const row = qkv + (sequence.first_row + token) * stride;
  const int d = layout.head_dim;
  const int half = d / 2;
  const int n_rotated = n_heads + layout.n_kv_heads;
  const int per_head = half / kWidth;
  const int index = sequence.n_cached + token;

  for (int i = static_cast<int>(threadIdx.x); i < n_rotated * per_head;
       i += static_cast<int>(blockDim.x)) {
    const int head = i / per_head;
    const int pair = i % per_head * kWidth;
    const bool is_query = head < n_heads;
    const float* cosines = is_query ? sequence.query_cos : sequence.key_cos;
    const float* sines = is_query ? sequence.query_sin : sequence.key_sin;
    const bool is_rotated = cosines != nullptr && (is_query || sequence.keys_are_raw == 0);
    const int64_t cos_stride = is_query ? sequence.query_cos_stride : sequence.key_cos_stride;
    const int64_t sin_stride = is_query ? sequence.query_sin_stride : sequence.key_sin_stride;
    T* const from = row + int64_t{head} * d + pair;
    T* const to =
        is_query
            ? from
            : page_row<T>(layout, table.pages, sequence.first_page, head - n_heads, index) + pair;
    if constexpr (kWidth == 8) {
      Eight x = load_eight(from);
      Eight y = load_eight(from + half);
      if (is_rotated) {
        rotate_eight(x, y, cosines + token * cos_stride + pair, sines + token * sin_stride + pair);
      }
      store_eight(to, x);
      store_eight(to + half, y);
      if (!is_query && keeps_rows != 0) {
        store_eight(from, x);
        store_eight(from + half, y);
      }
    } else {
      float x = to_float(from[0]);
      float y = to_float(from[half]);
      if (is_rotated) {
        rotate_pair(x, y, cosines[token * cos_stride + pair], sines[token * sin_stride + pair]);
      }
      to[0] = from_float<T>(x);
      to[half] = from_float<T>(y);
    }
  }

  const T* const values = row + int64_t{n_rotated} * d;
  const int value_pieces = d / kWidth;
  for (int i = static_cast<int>(threadIdx.x); i < layout.n_kv_heads * value_pieces;
       i += static_cast<int>(blockDim.x)) {
    const int head = i / value_pieces;
    const int at = i % value_pieces * kWidth;
    T* const to = page_row<T>(layout, table.pages, sequence.first_page, head, index) +
                  layout.half_bytes / static_cast<int64_t>(sizeof(T)) + at;
    const T* const from = values + int64_t{head} * d + at;
    if constexpr (kWidth == 8) {
      store_eight(to, load_eight(from));
    } else {
      to[0] = from[0];
    }
  }
}

/// Eight at a time: every row of tensor, page and table must begin at a multiple of 16 bytes.
bool goes_by_eight(const TensorView& qkv, const KvLayout& layout,
                   std::span<const KvSequence> sequences) {
  if (layout.head_dim % 16 != 0 || !is_aligned(qkv)) return false;
  return std::all_of(sequences.begin(), sequences.end(), [](const KvSequence& sequence) {
    const RotaryView& q = sequence.query_rotation;
    const RotaryView& k = sequence.key_rotation;
    return is_aligned(q.cos) && is_aligned(q.sin) && is_aligned(k.cos) && is_aligned(k.sin);
  });
}

}  // namespace

uint32_t& CudaStream::n_stores(int64_t layer) {
  const auto index = static_cast<size_t>(layer);
  if (n_stores_.size() <= index) n_stores_.resize(index + 1);
  return n_stores_[index];
}

void CudaStream::rotate_and_store(TensorView qkv, int64_t n_heads, const KvLayout& layout,
                                  int64_t layer, std::span<const KvSequence> sequences) {
  const int64_t width = (n_heads + 2 * layout.n_kv_heads) * layout.head_dim;
  check_matrix(qkv, qkv.shape[0], width, "rotate_and_store: qkv");
  check_sequences("rotate_and_store", qkv.shape[0], n_heads, layout, qkv.dtype, layer, sequences);
  if (sequences.empty()) return;

  const CurrentDevice current(shared_->device);
  begin(qkv.shape[0]);
  ++n_stores(layer);
  std::vector<const KvSequence*> all;
  int64_t most_tokens = 0;
  for (const KvSequence& sequence : sequences) {
    all.push_back(&sequence);
    most_tokens = std::max(most_tokens, sequence.n_tokens);
  }
  WaitingRotation rotation;
  rotation.qkv = qkv;
  rotation.n_heads = n_heads;
  rotation.pages = page_layout(layout, layer);
  rotation.table = tables_.stage(queue_, all);
  rotation.n_sequences = static_cast<int64_t>(sequences.size());
  rotation.most_tokens = most_tokens;
  rotation.by_eight = goes_by_eight(qkv, layout, sequences);
  if (queue_.is_collecting()) {
    waiting_rotation_ = rotation;
    return;
  }
  // Whole prompts: attention may read them where they lie.
  stored_rows_.first_and_n.clear();
  bool keeps_rows = rotation.by_eight && qkv.dtype == DType::bf16 && shared_->cudnn != nullptr;
  for (const KvSequence& sequence : sequences) {
    keeps_rows = keeps_rows && !sequence.keys_are_raw;
    if (sequence.n_cached == 0) {
      stored_rows_.first_and_n.emplace_back(sequence.first_row, sequence.n_tokens);
    }
  }
  keeps_rows = keeps_rows && !stored_rows_.first_and_n.empty();
  if (keeps_rows) {
    stored_rows_.qkv = qkv.data;
    stored_rows_.layer = layer;
  }
  rotate_now(rotation, keeps_rows);
}

void CudaStream::rotate_now(const WaitingRotation& rotation, bool keeps_rows) {
  const TensorView& qkv = rotation.qkv;
  const dim3 grid(static_cast<unsigned>(rotation.most_tokens),
                  static_cast<unsigned>(rotation.n_sequences));
  constexpr unsigned kThreads = 256;
  const auto run = [&](auto* rows) {
    using T = std::decay_t<decltype(*rows)>;
    auto* kernel = &rotate_and_store_kernel<T, 1>;
    if (rotation.by_eight) kernel = &rotate_and_store_kernel<T, 8>;
    queue_.launch(kernel, grid, kThreads, 0, rows, qkv.strides[0],
                  static_cast<int>(rotation.n_heads), rotation.pages, rotation.table,
                  keeps_rows ? 1 : 0);
  };
  if (qkv.dtype == DType::bf16) {
    run(static_cast<Bf16*>(qkv.data));
  } else {
    run(static_cast<float*>(qkv.data));
  }
}

bool CudaStream::takes_rotation(ConstTensorView qkv, int64_t n_heads, const PageLayout& pages,
                                std::span<const KvSequence> sequences) {
  if (!waiting_rotation_) return false;
  const WaitingRotation& waiting = *waiting_rotation_;
  if (!waiting.by_eight || qkv.dtype != DType::bf16 || waiting.most_tokens > kFewTokens ||
      waiting.qkv.data != qkv.data || waiting.qkv.shape[0] != qkv.shape[0] ||
      waiting.qkv.strides[0] != qkv.strides[0] || waiting.n_heads != n_heads ||
      waiting.pages != pages) {
    return false;
  }
  std::vector<const KvSequence*> all;
  for (const KvSequence& sequence : sequences) all.push_back(&sequence);
  return tables_.is_table_of(waiting.table, queue_, all);
}

}  // namespace okapi::cuda
