// An NVIDIA GPU as a backend: what its streams share, and the streams themselves. Each operation is
// defined in the file named after it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/blas.h"
#include "backends/cuda/cudnn.h"
#include "backends/cuda/few_rows.h"
#include "backends/cuda/kv_sequences.h"
#include "backends/cuda/memory.h"
#include "backends/cuda/queue.h"
#include "backends/cuda/weight.h"
#include "backends/training.h"

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
  const cudaStream_t stream;  ///< the caller's; null: each of ours has its own
  DeviceSize size;
  bool begins_early = false;  ///< see QueueOptions
  size_t memory_bytes = 0;    ///< all that the device has
  std::string device_name;
  std::shared_ptr<MemoryPool> pool;
  Blas blas;
  std::unique_ptr<Cudnn> cudnn;  ///< null: not here
  std::string without_cudnn;     ///< why not
};

/// Most logits that a training loss holds at once.
constexpr int64_t kLogitsPerChunk = int64_t{1} << 26;

/// One class for inference and training, so that there is one forward.
class CudaStream final : public TrainingStream {
 public:
  explicit CudaStream(std::shared_ptr<const Shared> shared,
                      const TrainingStreamOptions& options = {});
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
  void set_row_invariant(bool on) override { is_row_invariant_ = on; }

  void zero(void* memory, size_t bytes) override;
  void add(TensorView to, ConstTensorView from) override;
  void embed_backward(std::span<const int32_t> ids, ConstTensorView out_gradient,
                      TensorView table_gradient) override;
  void rms_norm_backward(ConstTensorView residual, ConstTensorView weight, float epsilon,
                         ConstTensorView out_gradient, TensorView residual_gradient,
                         TensorView weight_gradient) override;
  void linear_backward_input(ConstTensorView out_gradient, const PreparedWeight& weight,
                             TensorView x_gradient, bool adds) override;
  void linear_backward_weight(ConstTensorView out_gradient, ConstTensorView x,
                              TensorView weight_gradient) override;
  void matmul(ConstTensorView a, bool transpose_a, ConstTensorView b, bool transpose_b, float alpha,
              float beta, TensorView out) override;
  void rotate(TensorView qkv, const HeadLayout& heads, std::span<const TrainingSequence> sequences,
              bool backward) override;
  void attention_forward(ConstTensorView qkv, const HeadLayout& heads,
                         std::span<const TrainingSequence> sequences, TensorView out,
                         TensorView log_sums) override;
  void attention_backward(ConstTensorView qkv, const HeadLayout& heads,
                          std::span<const TrainingSequence> sequences, ConstTensorView out,
                          ConstTensorView log_sums, ConstTensorView out_gradient,
                          TensorView qkv_gradient) override;
  void swiglu_backward(ConstTensorView gate_up, ConstTensorView out_gradient,
                       TensorView gate_up_gradient) override;
  double cross_entropy(ConstTensorView hidden, const PreparedWeight& weight,
                       std::span<const int32_t> targets, std::span<const float> weights,
                       TensorView nll, TensorView hidden_gradient,
                       TensorView weight_gradient) override;
  void dropout(ConstTensorView x, uint64_t seed, float probability, TensorView out) override;
  double squared_norm(std::span<const ConstTensorView> tensors) override;
  void adamw(std::span<const AdamWUpdate> updates) override;
  void refresh(std::span<PreparedWeight* const> weights) override;

 private:
  /// Prompts whose keys and values still lie in the rows they came in, as they went into the pages:
  /// attention right after that need not gather them.
  struct StoredRows {
    const void* qkv = nullptr;  ///< null: none
    int64_t layer = 0;
    std::vector<std::pair<int64_t, int64_t>> first_and_n;
  };

  /// A call of rotate_and_store whose sequences have been staged.
  struct WaitingRotation {
    TensorView qkv;
    int64_t n_heads = 0;
    PageLayout pages;
    SequenceTable table;
    int64_t n_sequences = 0;
    int64_t most_tokens = 0;  ///< of a sequence
    bool by_eight = false;    ///< heads and tables allow for 16 bytes at a time
  };

  /// out [T, N] = x [T, K] times N rows of a weight, from the first on, transposed.
  void multiply(ConstTensorView x, const CudaWeight& weight, int64_t first, TensorView out);
  /// Any number of rows: many go into the residual alone, where there is one.
  void multiply(const FewRowsProduct& wanted);
  /// out = alpha op(a) op(b) + beta out, of any mixture of dtypes; op transposes if its flag is
  /// set.
  void multiply_matrices(ConstTensorView a, bool transpose_a, ConstTensorView b, bool transpose_b,
                         float alpha, float beta, TensorView out);
  void* scratch(DeviceBuffer& buffer, size_t bytes);
  /// Of doubles on the device, which are overwritten, in a fixed order. Waits.
  double sum_of_doubles(double* values, int64_t n);
  uint32_t* arrival_counters(size_t count);

  /// Every operation begins with this: launches what waits, see waiting_product_.
  void begin(int64_t n_rows);
  void settle();
  /// The same for what is never collected: training's passes have many rows.
  void begin_training() { begin(kFewRows + 1); }
  void norm_now(TensorView residual, ConstTensorView delta, ConstTensorView weight, float epsilon,
                TensorView out);
  void rotate_now(const WaitingRotation& rotation, bool keeps_rows);
  /// Whether attention to these rows may do what waits of rotate_and_store.
  bool takes_rotation(ConstTensorView qkv, int64_t n_heads, const PageLayout& pages,
                      std::span<const KvSequence> sequences);
  /// Keys per part of sequences with few queries, where that may depend on all of them.
  int32_t common_part_keys(std::span<const KvSequence* const> sequences, const KvLayout& layout,
                           int64_t most_rows);
  /// The first queries of a long prompt; how many it took.
  int64_t attend_by_cudnn(ConstTensorView qkv, const KvLayout& layout, int64_t layer,
                          int64_t n_heads, const KvSequence& sequence, const StoredRows& stored,
                          TensorView out);

  /// Training's attention by cuDNN, where it takes a batch of such a shape: sequences of one length
  /// and scale. Whether it does depends on the shape alone.
  std::optional<TrainedAttention> attention_for_cudnn(ConstTensorView qkv, const HeadLayout& heads,
                                                      std::span<const TrainingSequence> sequences,
                                                      ConstTensorView out) const;
  /// False where it did nothing. `sums` [T, H] are scratch.
  bool backward_by_cudnn(ConstTensorView qkv, const HeadLayout& heads,
                         std::span<const TrainingSequence> sequences, ConstTensorView out,
                         ConstTensorView log_sums, ConstTensorView out_gradient,
                         TensorView qkv_gradient, float* sums);
  void attend_by_own_kernels(ConstTensorView qkv, const HeadLayout& heads,
                             std::span<const TrainingSequence> sequences, TensorView out,
                             TensorView log_sums);

  std::shared_ptr<const Shared> shared_;
  TrainingStreamOptions options_;
  Queue queue_;
  bool is_row_invariant_ = false;
  /// What the last answer of common_part_keys was for: all layers of a pass ask for the same.
  struct CommonParts {
    int64_t head_dim = 0;
    int64_t n_kv_heads = 0;
    int64_t most_rows = 0;
    std::vector<int64_t> n_tiles;

    bool operator==(const CommonParts&) const = default;
  };
  CommonParts common_parts_;
  int32_t common_part_keys_ = 0;
  SequenceTables tables_;
  // The last product waits for the next operation, which may be an addition of its result: of many
  // rows that spares a pass over them. Decoding, a kernel costs as much by starting as by running,
  // so there the next may be a gate over the result too; a norm waits for the product that reads
  // it, and rotation for the attention to what it rotates. In that order; the last is never there
  // together with the others.
  std::optional<FewRowsProduct> waiting_product_;
  std::optional<FewRowsProduct> waiting_rows_;
  std::optional<WaitingRotation> waiting_rotation_;

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
  DeviceBuffer row_sums_, partial_sums_, token_rows_, losses_;
};

class CudaBackend final : public Backend, public TrainingBackend {
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
  std::optional<DeviceMemory> device_memory() const override { return shared_->pool->memory(); }
  std::unique_ptr<PreparedWeight> prepare_weight(std::span<const ConstTensorView> row_blocks,
                                                 DType keep) override;
  std::unique_ptr<Stream> create_stream() override;

  TrainingBackend* training() override { return this; }
  std::unique_ptr<TrainingStream> create_training_stream(
      const TrainingStreamOptions& options) override;
  bool computes_in(DType activations) const override;
  std::unique_ptr<PreparedWeight> trainable_weight(TensorView master, DType activations) override;
  TrainingScratch scratch(const TrainingStreamOptions& options, int64_t n_sequences,
                          int64_t n_tokens, const HeadLayout& heads, int64_t vocab_size,
                          DType activations) const override;

  MatmulMeasurement measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) override;
  double measure_read_bandwidth(size_t bytes) override;

 private:
  std::shared_ptr<const Shared> shared_;
};

}  // namespace okapi::cuda
