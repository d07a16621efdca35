// Attention by cuDNN, the only file that sees it. Built with cudnn-frontend's headers, otherwise
// this says that it was not; the library itself is opened at run time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <unordered_map>

namespace okapi::cuda {

/// The first rows of q, k and v, or of their gradients.
struct QkvRows {
  const void* queries;
  const void* keys;
  const void* values;
};

/// Queries [n_queries, H, D] and outputs with rows `.._stride` elements apart; keys and values with
/// heads `head_stride` and tokens `key_stride` elements apart, all bf16. Query i sees the keys up
/// to n_keys - n_queries + i.
struct AttentionShape {
  int64_t n_queries = 0;
  int64_t n_keys = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t query_stride = 0;
  int64_t out_stride = 0;
  int64_t head_stride = 0;
  int64_t key_stride = 0;
  float scale = 1;

  auto key() const {
    return std::tuple(n_queries, n_keys, n_heads, n_kv_heads, head_dim, query_stride, out_stride,
                      head_stride, key_stride, scale);
  }
};

/// A training batch of n_sequences times n_tokens rows: each sequence attends to itself. Outputs
/// and their gradients have rows `out_stride` elements apart; log sums are f32 [n_sequences, H,
/// n_tokens], packed.
struct TrainedAttention {
  int64_t n_sequences = 0;
  int64_t n_tokens = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t row_stride = 0;
  int64_t out_stride = 0;
  int64_t gradient_stride = 0;  ///< of rows of gradients of q, k and v; 0: the forward
  float scale = 1;
  /// Of the backward: otherwise the queries' gradients are summed in the order in which blocks
  /// finish. It takes n_sequences H n_tokens^2 bf16 of workspace.
  bool in_fixed_order = false;

  bool is_backward() const { return gradient_stride > 0; }
  auto key() const {
    return std::tuple(n_sequences, n_tokens, n_heads, n_kv_heads, head_dim, row_stride, out_stride,
                      gradient_stride, scale, in_fixed_order);
  }
};

/// Safe from several threads.
class Cudnn {
 public:
  /// Throws BackendError with the reason if there is none.
  Cudnn();
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  std::string version() const;

  /// Bytes of workspace for this shape; -1 where the library has no kernel for it.
  int64_t workspace_bytes(const AttentionShape& shape);
  void attend(const AttentionShape& shape, const QkvRows& qkv, void* out, void* workspace,
              cudaStream_t stream);

  int64_t workspace_bytes(const TrainedAttention& shape);
  void attend(const TrainedAttention& shape, const QkvRows& qkv, void* out, float* log_sums,
              void* workspace, cudaStream_t stream);
  /// Writes `qkv_gradient`.
  void attend_backward(const TrainedAttention& shape, const QkvRows& qkv, const void* out,
                       const float* log_sums, const void* out_gradient, const QkvRows& qkv_gradient,
                       void* workspace, cudaStream_t stream);

 private:
  struct Plan;

  Plan& plan(const AttentionShape& shape);
  Plan& plan(const TrainedAttention& shape);
  void execute(Plan& plan, std::unordered_map<int64_t, void*>& tensors, void* workspace,
               cudaStream_t stream);

  void* handle_ = nullptr;
  std::mutex mutex_;
  std::map<decltype(AttentionShape().key()), std::unique_ptr<Plan>> plans_;
  std::map<decltype(TrainedAttention().key()), std::unique_ptr<Plan>> trained_plans_;
};

}  // namespace okapi::cuda
