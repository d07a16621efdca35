// The CPU as a backend: what its streams share, and the streams themselves. Each operation is
// defined in the file named after it.
#pragma once

#include <memory>
#include <vector>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/memory.h"
#include "backends/cpu/onednn.h"
#include "backends/cpu/weight.h"
#include "backends/sampling.h"
#include "backends/training.h"

namespace okapi::cpu {

/// Up to so many rows go through our own product where a row's result must not depend on their
/// number.
inline constexpr int64_t kInvariantRows = 32;

/// Most logits that a training loss holds at once.
constexpr int64_t kLogitsPerChunk = int64_t{1} << 24;

/// Immutable but for the library's cache, which locks: streams use it from several threads.
struct Shared {
  explicit Shared(const BackendOptions& options);

  const Kernels& kernels;
  const int n_threads;
  const OneDnn library;
};

/// One class for inference and training, so that there is one forward.
class CpuStream final : public TrainingStream {
 public:
  explicit CpuStream(std::shared_ptr<const Shared> shared) : shared_(std::move(shared)) {}

  void synchronize() override {}
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
  void set_row_invariant(bool on) override { row_invariant_ = on; }

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
  std::shared_ptr<const Shared> shared_;
  Scratch scratch_;
  TokenChooser chooser_;
  bool row_invariant_ = false;
};

class CpuBackend final : public Backend, public TrainingBackend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : shared_(std::make_shared<const Shared>(options)) {}

  std::string name() const override { return "cpu"; }
  std::string device() const override;
  DType activation_dtype() const override { return DType::f32; }
  DType kv_dtype() const override { return DType::f32; }
  int64_t page_tokens() const override { return kTileKeys; }

  int64_t invariant_rows() const override { return kInvariantRows; }

  void* allocate(size_t bytes) override { return cpu::allocate(bytes); }
  void release(void* memory) noexcept override { cpu::release(memory); }
  std::unique_ptr<PreparedWeight> prepare_weight(std::span<const ConstTensorView> row_blocks,
                                                 DType keep) override;
  std::unique_ptr<Stream> create_stream() override { return std::make_unique<CpuStream>(shared_); }

  TrainingBackend* training() override { return this; }
  std::unique_ptr<TrainingStream> create_training_stream(
      const TrainingStreamOptions& /*options*/) override {
    return std::make_unique<CpuStream>(shared_);  // whose sums always have one order
  }
  bool computes_in(DType activations) const override { return activations == DType::f32; }
  std::unique_ptr<PreparedWeight> trainable_weight(TensorView master, DType activations) override;
  TrainingScratch scratch(const TrainingStreamOptions& options, int64_t n_sequences,
                          int64_t n_tokens, const HeadLayout& heads, int64_t vocab_size,
                          DType activations) const override;

  MatmulMeasurement measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) override;
  double measure_read_bandwidth(size_t bytes) override;

 private:
  std::shared_ptr<const Shared> shared_;
  Arena weights_;
};

}  // namespace okapi::cpu
