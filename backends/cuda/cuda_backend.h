// An NVIDIA GPU as a backend: what its streams share, and the streams themselves. Each operation is
// defined in the file named after it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/blas.h"
#include "backends/cuda/cudnn.h"
#include "backends/cuda/few_rows.h"
#include "backends/cuda/kv_sequences.h"
#include "backends/cuda/memory.h"
#include "backends/cuda/queue.h"
#include "backends/cuda/weight.h"

namespace okapi::cuda {

/// What a backend's `variant` chooses, for tests.
struct Variant {
  DType activations = DType::bf16;
  bool follows_weights = true;  ///< activations as wide as a model's weights
  bool uses_cudnn = true;

  /// "", "f32", "bf16" or "bf16_own" (no cuDNN); throws BackendError for any other.
  static Variant named(const std::string& name);
};

struct Shared {
  explicit Shared(const BackendOptions& options);

  const Variant variant;
  const int device;
  DeviceSize size;
  std::string device_name;
  std::shared_ptr<MemoryPool> pool;
  Blas blas;
  std::unique_ptr<Cudnn> cudnn;  ///< null: not here
  std::string without_cudnn;     ///< why not
};

class CudaStream final : public Stream {
 public:
  explicit CudaStream(std::shared_ptr<const Shared> shared);
  ~CudaStream() override;

  void synchronize() override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void copy(void* device_to, const void* device_from, size_t bytes) override;

  void embed(const PreparedWeight& table, std::span<const int32_t> ids, TensorView out) override;
  void add_rms_norm(TensorView residual, ConstTensorView delta, ConstTensorView weight,
                    float epsilon, TensorView out) override;
  void linear(ConstTensorView x, const PreparedWeight& weight, TensorView out) override;
  void rotate_and_store(TensorView qkv, int64_t n_heads, const KvLayout& layout, int64_t layer,
                        std::span<const KvSequence> sequences) override;
  void attention(ConstTensorView qkv, int64_t n_heads, const KvLayout& layout, int64_t layer,
                 std::span<const KvSequence> sequences, TensorView out) override;
  void swiglu(ConstTensorView gate_up, TensorView out) override;
  void log_loss(ConstTensorView hidden, const PreparedWeight& weight,
                std::span<const int32_t> targets, TensorView nll) override;
  void gather_rows(ConstTensorView x, std::span<const int64_t> rows, TensorView out) override;
  void argmax(ConstTensorView x, TensorView ids) override;
  void sample(ConstTensorView logits, std::span<const SampleRule> rules, TensorView ids) override;

 private:
  /// Prompts whose keys and values still lie in the rows they came in, as they went into the pages:
  /// attention right after that need not gather them.
  struct StoredRows {
    const void* qkv = nullptr;  ///< null: none
    int64_t layer = 0;
    std::vector<std::pair<int64_t, int64_t>> first_and_n;
  };

  /// Rows [begin, end) of a weight against any number of rows of x.
  void multiply(ConstTensorView x, const CudaWeight& weight, int64_t begin, int64_t end,
                TensorView out);
  void* scratch(DeviceBuffer& buffer, size_t bytes);
  uint32_t* arrival_counters(size_t count);

  /// Every operation begins with this: launches what waits, see waiting_product_.
  void begin(int64_t n_rows);
  void settle();
  void gate_now(ConstTensorView gate_up, TensorView out);
  void norm_now(TensorView residual, ConstTensorView delta, ConstTensorView weight, float epsilon,
                TensorView out);
  /// The first queries of a long prompt; how many it took.
  int64_t attend_by_cudnn(ConstTensorView qkv, const KvLayout& layout, int64_t layer,
                          int64_t n_heads, const KvSequence& sequence, const StoredRows& stored,
                          TensorView out);

  std::shared_ptr<const Shared> shared_;
  Queue queue_;
  SequenceTables tables_;
  // Decoding, a kernel costs as much by starting as by running. So the last product waits for the
  // next operation, which may be an addition of its result; and a norm or a gate waits for the
  // product that reads it. In that order.
  std::optional<FewRowsProduct> waiting_product_;
  std::optional<FewRowsProduct> waiting_rows_;

  /// How often keys of a layer were stored since the stream was last waited for.
  uint32_t& n_stores(int64_t layer);

  StoredRows stored_rows_;
  std::vector<uint32_t> n_stores_;

  /// Small results go through pinned memory and reach the host's own when the stream is waited for.
  struct Download {
    void* host;
    const void* pinned;
    size_t bytes;
  };
  void* pinned_ = nullptr;
  size_t pinned_used_ = 0;
  std::vector<Download> downloads_;
  DeviceBuffer blas_workspace_;
  DeviceBuffer converted_x_, converted_weight_, converted_out_;
  DeviceBuffer logits_, row_states_;
  DeviceBuffer arrivals_;
  DeviceBuffer attention_parts_, contiguous_kv_, cudnn_workspace_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const BackendOptions& options)
      : shared_(std::make_shared<const Shared>(options)) {}

  std::string name() const override { return "cuda"; }
  std::string device() const override;
  DType activation_dtype() const override { return shared_->variant.activations; }
  DType kv_dtype() const override { return shared_->variant.activations; }
  DType activation_dtype_beside(DType weights) const override;
  DType kv_dtype_beside(DType weights) const override { return activation_dtype_beside(weights); }
  int64_t page_tokens() const override { return 64; }
  int64_t prefill_chunk() const override { return 16384; }
  int64_t invariant_rows() const override { return kFewRows; }

  void* allocate(size_t bytes) override { return shared_->pool->allocate(bytes); }
  void release(void* memory) noexcept override { shared_->pool->release(memory); }
  uint64_t free_memory() const override { return shared_->pool->free_bytes(); }
  std::unique_ptr<PreparedWeight> prepare_weight(std::span<const ConstTensorView> row_blocks,
                                                 DType keep) override;
  std::unique_ptr<Stream> create_stream() override;

  MatmulMeasurement measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) override;
  double measure_read_bandwidth(size_t bytes) override;

 private:
  std::shared_ptr<const Shared> shared_;
};

}  // namespace okapi::cuda
