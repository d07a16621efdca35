// Attention over whole sequences that stand beside their queries, and its backward.
//
//   sequences of one length, bf16     cuDNN (cudnn.h). Its backward in a fixed order keeps the
//                                     gradients of all weights of a call, so that batches are cut
//                                     into parts; where one head of keys is too much, our own
//   others                            inference's kernels for prompts, on keys and values gathered
//                                     into one page; the backward of attention_backward.cu
#include <algorithm>
#include <vector>

#include "backends/cuda/attention.h"
#include "backends/cuda/attention_backward.h"
#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"
#include "backends/training_checks.h"

namespace okapi::cuda {

namespace {

constexpr int64_t kMostHeadDim = 256;
/// Shorter sequences gain nothing by the library.
constexpr int64_t kFewestTokensForCudnn = 256;
constexpr int64_t kMostHeadDimForCudnn = 128;
constexpr unsigned kThreads = 256;

/// Keys, then values, of every row: to [2 K, page_tokens, D], kWidth words at a time.
template <typename Word>
__global__ void gather_keys_kernel(const Word* qkv, int64_t stride, int64_t first_column,
                                   int n_kept, int d, int64_t page_tokens, Word* to) {
  wait_for_previous_kernel();
  const Word* const from = qkv + blockIdx.x * stride + first_column;
  for (int i = static_cast<int>(threadIdx.x); i < n_kept * d; i += static_cast<int>(blockDim.x)) {
    const int head = i / d;
    to[(head * page_tokens + blockIdx.x) * d + (i - head * d)] = from[i];
  }
}

/// cuDNN has log sums by sequence and head, [sequences, heads, tokens]; we by row, [rows, heads].
/// Tiles of 32 x 32 of one sequence.
__global__ void transpose_kernel(const float* from, float* to, int n_rows, int n_columns,
                                 int64_t from_stride, int64_t to_stride, int64_t from_sequence,
                                 int64_t to_sequence) {
  __shared__ float tile[kWarp][kWarp + 1];
  wait_for_previous_kernel();
  const int row = static_cast<int>(blockIdx.x) * kWarp;
  const int column = static_cast<int>(blockIdx.y) * kWarp;
  const int lane = static_cast<int>(threadIdx.x);
  from += blockIdx.z * from_sequence;
  to += blockIdx.z * to_sequence;
  for (int r = static_cast<int>(threadIdx.y); r < kWarp; r += static_cast<int>(blockDim.y)) {
    if (row + r < n_rows && column + lane < n_columns) {
      tile[r][lane] = from[(row + r) * from_stride + column + lane];
    }
  }
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.y); c < kWarp; c += static_cast<int>(blockDim.y)) {
    if (column + c < n_columns && row + lane < n_rows) {
      to[(column + c) * to_stride + row + lane] = tile[lane][c];
    }
  }
}

/// to = from transposed, for each sequence.
void transpose(Queue& queue, int64_t n_sequences, int64_t n_rows, int64_t n_columns,
               const float* from, int64_t from_stride, int64_t from_sequence, float* to,
               int64_t to_stride, int64_t to_sequence) {
  const auto tiles = [](int64_t n) { return static_cast<unsigned>((n + kWarp - 1) / kWarp); };
  queue.launch(transpose_kernel,
               dim3(tiles(n_rows), tiles(n_columns), static_cast<unsigned>(n_sequences)),
               dim3(kWarp, 8), 0, from, to, static_cast<int>(n_rows), static_cast<int>(n_columns),
               from_stride, to_stride, from_sequence, to_sequence);
}

int64_t divided_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// The most of `n` things that parts of about one size have where none has more than `most`.
int64_t in_even_parts(int64_t n, int64_t most) { return divided_up(n, divided_up(n, most)); }

/// Where q, k and v begin in rows of such heads, from some row and head of keys on.
QkvRows rows_of(const void* qkv, int64_t row_stride, const HeadLayout& heads, int64_t row,
                int64_t kv_head) {
  const auto* const first = static_cast<const Bf16*>(qkv) + row * row_stride;
  const int64_t head = kv_head * (heads.n_heads / heads.n_kv_heads);
  return {first + head * heads.head_dim, first + (heads.n_heads + kv_head) * heads.head_dim,
          first + (heads.n_heads + heads.n_kv_heads + kv_head) * heads.head_dim};
}

int64_t longest(std::span<const TrainingSequence> sequences) {
  int64_t most = 0;
  for (const TrainingSequence& sequence : sequences) most = std::max(most, sequence.n_tokens);
  return most;
}

void check_head_dim(const char* what, const HeadLayout& heads) {
  if (heads.head_dim <= kMostHeadDim) return;
  throw BackendError(std::string(what) + ": head_dim must be at most 256, found " +
                     std::to_string(heads.head_dim));
}

}  // namespace

std::optional<BackwardPart> part_in_fixed_order(int64_t n_sequences, int64_t n_tokens,
                                                const HeadLayout& heads, size_t device_bytes) {
  constexpr int64_t kShareOfDevice = 32;
  // The library's tiles.
  constexpr int64_t kQueries = 64;
  constexpr int64_t kKeys = 128;
  const int64_t most = static_cast<int64_t>(device_bytes) / kShareOfDevice;
  const int64_t of_kv_head = heads.n_heads / heads.n_kv_heads * divided_up(n_tokens, kQueries) *
                             kQueries * divided_up(n_tokens, kKeys) * kKeys *
                             static_cast<int64_t>(sizeof(Bf16));
  const int64_t n_kv_heads = most / of_kv_head;
  if (n_kv_heads == 0) return std::nullopt;
  BackwardPart part;
  part.n_sequences =
      in_even_parts(n_sequences, std::max<int64_t>(1, n_kv_heads / heads.n_kv_heads));
  part.n_kv_heads = in_even_parts(heads.n_kv_heads, n_kv_heads);
  part.weights_bytes = part.n_sequences * part.n_kv_heads * of_kv_head;
  return part;
}

std::optional<TrainedAttention> CudaStream::attention_for_cudnn(
    ConstTensorView qkv, const HeadLayout& heads, std::span<const TrainingSequence> sequences,
    ConstTensorView out) const {
  const TrainingSequence& first = sequences.front();
  if (shared_->cudnn == nullptr || qkv.dtype != DType::bf16 || heads.head_dim % 8 != 0 ||
      heads.head_dim > kMostHeadDimForCudnn || first.n_tokens < kFewestTokensForCudnn ||
      !is_aligned(qkv) || !is_aligned(out)) {
    return std::nullopt;
  }
  for (const TrainingSequence& sequence : sequences) {
    if (sequence.n_tokens != first.n_tokens || sequence.score_scale != first.score_scale) {
      return std::nullopt;
    }
  }
  TrainedAttention shape;
  shape.n_sequences = static_cast<int64_t>(sequences.size());
  shape.n_tokens = first.n_tokens;
  shape.n_heads = heads.n_heads;
  shape.n_kv_heads = heads.n_kv_heads;
  shape.head_dim = heads.head_dim;
  shape.row_stride = qkv.strides[0];
  shape.out_stride = out.strides[0];
  shape.scale = first.score_scale;
  return shape;
}

void CudaStream::attention_forward(ConstTensorView qkv, const HeadLayout& heads,
                                   std::span<const TrainingSequence> sequences, TensorView out,
                                   TensorView log_sums) {
  const int64_t n_rows = qkv.shape[0];
  check_heads("attention_forward", heads);
  check_head_dim("attention_forward", heads);
  check_matrix(qkv, n_rows, heads.row_width(), "attention_forward: qkv");
  check_matrix(out, n_rows, heads.n_heads * heads.head_dim, "attention_forward: out");
  check_matrix(log_sums, n_rows, heads.n_heads, "attention_forward: log_sums");
  check_gradient_dtype(log_sums, "attention_forward: log_sums");
  check_same_dtype(qkv, out, "attention_forward: qkv and out");
  check_training_sequences("attention_forward", n_rows, heads, sequences);
  if (n_rows == 0) return;

  const CurrentDevice current(shared_->device);
  begin_training();
  const std::optional<TrainedAttention> shape = attention_for_cudnn(qkv, heads, sequences, out);
  const int64_t workspace_bytes = shape ? shared_->cudnn->workspace_bytes(*shape) : -1;
  if (workspace_bytes < 0) {
    attend_by_own_kernels(qkv, heads, sequences, out, log_sums);
    return;
  }
  void* const workspace =
      scratch(cudnn_workspace_, static_cast<size_t>(std::max<int64_t>(workspace_bytes, 1)));
  auto* const sums = static_cast<float*>(
      scratch(row_sums_, static_cast<size_t>(n_rows * heads.n_heads) * sizeof(float)));
  shared_->cudnn->attend(*shape, rows_of(qkv.data, qkv.strides[0], heads, 0, 0), out.data, sums,
                         workspace, queue_.stream());
  const int64_t n = shape->n_tokens;
  transpose(queue_, shape->n_sequences, heads.n_heads, n, sums, n, n * heads.n_heads,
            static_cast<float*>(log_sums.data), log_sums.strides[0], n * log_sums.strides[0]);
}

void CudaStream::attend_by_own_kernels(ConstTensorView qkv, const HeadLayout& heads,
                                       std::span<const TrainingSequence> sequences, TensorView out,
                                       TensorView log_sums) {
  const int64_t n_rows = qkv.shape[0];
  const int64_t d = heads.head_dim;
  // All rows are one page, of whole tiles; a sequence's begins at its own first row.
  constexpr int64_t kTile = 64;
  const int64_t page_tokens = (n_rows + kTile - 1) / kTile * kTile;
  const KvLayout layout{1, heads.n_kv_heads, d, page_tokens, qkv.dtype};
  auto* const page = static_cast<std::byte*>(scratch(contiguous_kv_, layout.page_bytes()));
  const size_t element = size_of(qkv.dtype);
  const auto gather = [&](auto word) {
    using Word = decltype(word);
    const auto per_word = static_cast<int64_t>(sizeof(Word) / element);
    queue_.launch(gather_keys_kernel<Word>, static_cast<unsigned>(n_rows), kThreads, 0,
                  static_cast<const Word*>(qkv.data), qkv.strides[0] / per_word,
                  heads.n_heads * d / per_word, static_cast<int>(2 * heads.n_kv_heads),
                  static_cast<int>(d / per_word), page_tokens, reinterpret_cast<Word*>(page));
  };
  const bool on_tensor_cores = qkv.dtype == DType::bf16 && d % 8 == 0 && is_aligned(qkv) &&
                               out.strides[0] % 2 == 0 &&
                               reinterpret_cast<uintptr_t>(out.data) % 4 == 0;
  if (on_tensor_cores) {
    gather(uint4());
  } else if (element == sizeof(uint16_t)) {
    gather(uint16_t());
  } else {
    gather(uint32_t());
  }

  std::vector<const void*> pages;
  for (const TrainingSequence& sequence : sequences) {
    pages.push_back(page + static_cast<size_t>(sequence.first_row * d) * element);
  }
  AttentionInput input = {};
  input.queries = qkv.data;
  input.query_stride = qkv.strides[0];
  input.out = out.data;
  input.out_stride = out.strides[0];
  input.layout = page_layout(layout, 0);
  input.table = tables_.stage(queue_, sequences, pages);
  const int64_t group = heads.n_heads / heads.n_kv_heads;
  input.group = static_cast<int32_t>(group);
  input.n_sequences = static_cast<int32_t>(sequences.size());
  input.log_sums = static_cast<float*>(log_sums.data);
  input.log_sums_stride = log_sums.strides[0];
  const int64_t most_rows = longest(sequences) * group;
  if (on_tensor_cores) {
    launch_prefill_attention(queue_, input, most_rows);
  } else {
    launch_generic_attention(queue_, input, qkv.dtype, AttentionParts(), most_rows);
  }
}

bool CudaStream::backward_by_cudnn(ConstTensorView qkv, const HeadLayout& heads,
                                   std::span<const TrainingSequence> sequences, ConstTensorView out,
                                   ConstTensorView log_sums, ConstTensorView out_gradient,
                                   TensorView qkv_gradient, float* sums) {
  const std::optional<TrainedAttention> all = attention_for_cudnn(qkv, heads, sequences, out);
  if (!all) return false;
  const int64_t n = all->n_tokens;
  BackwardPart part{all->n_sequences, heads.n_kv_heads};
  if (options_.deterministic) {
    const auto fitting = part_in_fixed_order(all->n_sequences, n, heads, shared_->memory_bytes);
    if (!fitting) return false;
    part = *fitting;
  }
  const int64_t group = heads.n_heads / heads.n_kv_heads;
  const auto shape_of = [&](int64_t n_sequences, int64_t n_kv_heads) {
    TrainedAttention shape = *all;
    shape.n_sequences = n_sequences;
    shape.n_heads = n_kv_heads * group;
    shape.n_kv_heads = n_kv_heads;
    shape.gradient_stride = qkv_gradient.strides[0];
    shape.in_fixed_order = options_.deterministic;
    return shape;
  };
  // All of them before the first runs: a part that the library has no kernel for would come too
  // late, and memory is not to grow on the way. The last parts may be smaller.
  int64_t workspace_bytes = 1;
  for (const int64_t n_sequences : {part.n_sequences, all->n_sequences % part.n_sequences}) {
    for (const int64_t n_kv_heads : {part.n_kv_heads, heads.n_kv_heads % part.n_kv_heads}) {
      if (n_sequences == 0 || n_kv_heads == 0) continue;
      const int64_t needed = shared_->cudnn->workspace_bytes(shape_of(n_sequences, n_kv_heads));
      if (needed < 0) return false;
      workspace_bytes = std::max(workspace_bytes, needed);
    }
  }
  void* const workspace = scratch(cudnn_workspace_, static_cast<size_t>(workspace_bytes));
  transpose(queue_, all->n_sequences, n, heads.n_heads, static_cast<const float*>(log_sums.data),
            log_sums.strides[0], n * log_sums.strides[0], sums, n, n * heads.n_heads);
  for (int64_t sequence = 0; sequence < all->n_sequences; sequence += part.n_sequences) {
    for (int64_t kv_head = 0; kv_head < heads.n_kv_heads; kv_head += part.n_kv_heads) {
      const TrainedAttention shape =
          shape_of(std::min(part.n_sequences, all->n_sequences - sequence),
                   std::min(part.n_kv_heads, heads.n_kv_heads - kv_head));
      const int64_t row = sequence * n;
      const int64_t at = row * out.strides[0] + kv_head * group * heads.head_dim;
      shared_->cudnn->attend_backward(
          shape, rows_of(qkv.data, qkv.strides[0], heads, row, kv_head),
          static_cast<const Bf16*>(out.data) + at,
          sums + (sequence * heads.n_heads + kv_head * group) * n,
          static_cast<const Bf16*>(out_gradient.data) + at,
          rows_of(qkv_gradient.data, qkv_gradient.strides[0], heads, row, kv_head), workspace,
          queue_.stream());
    }
  }
  return true;
}

void CudaStream::attention_backward(ConstTensorView qkv, const HeadLayout& heads,
                                    std::span<const TrainingSequence> sequences,
                                    ConstTensorView out, ConstTensorView log_sums,
                                    ConstTensorView out_gradient, TensorView qkv_gradient) {
  const int64_t n_rows = qkv.shape[0];
  const int64_t width = heads.n_heads * heads.head_dim;
  check_heads("attention_backward", heads);
  check_head_dim("attention_backward", heads);
  check_matrix(qkv, n_rows, heads.row_width(), "attention_backward: qkv");
  check_matrix(out, n_rows, width, "attention_backward: out");
  check_matrix(log_sums, n_rows, heads.n_heads, "attention_backward: log_sums");
  check_gradient_dtype(log_sums, "attention_backward: log_sums");
  check_matrix(out_gradient, n_rows, width, "attention_backward: out_gradient");
  check_matrix(qkv_gradient, n_rows, heads.row_width(), "attention_backward: qkv_gradient");
  check_same_dtype(qkv, out, "attention_backward: qkv and out");
  check_same_dtype(qkv, out_gradient, "attention_backward: qkv and out_gradient");
  check_same_dtype(qkv, qkv_gradient, "attention_backward: qkv and qkv_gradient");
  check_training_sequences("attention_backward", n_rows, heads, sequences);
  if (n_rows == 0) return;

  const CurrentDevice current(shared_->device);
  begin_training();
  auto* const sums = static_cast<float*>(
      scratch(row_sums_, static_cast<size_t>(n_rows * heads.n_heads) * sizeof(float)));
  if (out_gradient.strides[0] == out.strides[0] && is_aligned(out_gradient) &&
      is_aligned(qkv_gradient) &&
      backward_by_cudnn(qkv, heads, sequences, out, log_sums, out_gradient, qkv_gradient, sums)) {
    return;
  }

  AttentionGradient input = {};
  input.qkv = qkv.data;
  input.qkv_gradient = qkv_gradient.data;
  input.out = out.data;
  input.out_gradient = out_gradient.data;
  input.log_sums = static_cast<const float*>(log_sums.data);
  input.row_sums = sums;
  input.sequences = tables_.stage(queue_, sequences).rows;
  input.n_rows = n_rows;
  input.row_stride = qkv.strides[0];
  input.gradient_stride = qkv_gradient.strides[0];
  input.out_stride = out.strides[0];
  input.out_gradient_stride = out_gradient.strides[0];
  input.log_sums_stride = log_sums.strides[0];
  input.n_sequences = static_cast<int32_t>(sequences.size());
  input.most_tokens = static_cast<int32_t>(longest(sequences));
  input.n_heads = static_cast<int32_t>(heads.n_heads);
  input.n_kv_heads = static_cast<int32_t>(heads.n_kv_heads);
  input.head_dim = static_cast<int32_t>(heads.head_dim);
  const bool on_tensor_cores = qkv.dtype == DType::bf16 && heads.head_dim % 8 == 0 &&
                               heads.head_dim <= kMostTileHeadDim && is_aligned(qkv) &&
                               is_aligned(out_gradient) && is_aligned(qkv_gradient);
  if (on_tensor_cores) {
    launch_attention_backward(queue_, input);
  } else {
    launch_generic_attention_backward(queue_, input, qkv.dtype);
  }
}

TrainingScratch CudaBackend::scratch(const TrainingStreamOptions& options, int64_t n_sequences,
                                     int64_t n_tokens, const HeadLayout& heads, int64_t vocab_size,
                                     DType activations) const {
  const int64_t n_rows = n_sequences * n_tokens;
  const auto bytes = [](int64_t n, size_t of_each) { return static_cast<uint64_t>(n) * of_each; };
  const uint64_t row_sums = bytes(2 * n_rows * heads.n_heads, sizeof(float));
  TrainingScratch result;
  result.logits = bytes(std::min(kLogitsPerChunk, n_rows * vocab_size), sizeof(float));
  // Our own kernels read keys and values packed.
  const uint64_t packed =
      bytes(2 * n_rows * heads.n_kv_heads * heads.head_dim, size_of(activations));
  result.attention = row_sums + packed;
  if (activations != DType::bf16 || shared_->cudnn == nullptr || n_tokens < kFewestTokensForCudnn ||
      heads.head_dim > kMostHeadDimForCudnn) {
    return result;
  }
  // cuDNN sums the queries' gradients in f32, or keeps those of the weights; and where heads share
  // keys it has theirs for each head first.
  const int64_t width = heads.n_heads * heads.head_dim;
  int64_t n_at_once = n_rows * width;
  uint64_t workspace = bytes(n_at_once, sizeof(float));
  if (options.deterministic) {
    const auto part = part_in_fixed_order(n_sequences, n_tokens, heads, shared_->memory_bytes);
    if (!part) return result;
    n_at_once = part->n_sequences * n_tokens * width * part->n_kv_heads / heads.n_kv_heads;
    workspace = static_cast<uint64_t>(part->weights_bytes);
  }
  if (heads.n_heads != heads.n_kv_heads) workspace += bytes(2 * n_at_once, sizeof(Bf16));
  result.attention = row_sums + workspace;
  return result;
}

}  // namespace okapi::cuda
