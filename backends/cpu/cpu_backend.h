// The CPU as a backend: what its streams share, and the streams themselves. Each operation is
// defined in the file named after it.
#pragma once

#include <memory>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/memory.h"
#include "backends/cpu/onednn.h"
#include "backends/cpu/weight.h"

namespace okapi::cpu {

/// Immutable but for the library's cache, which locks: streams use it from several threads.
struct Shared {
  explicit Shared(const BackendOptions& options);

  const Kernels& kernels;
  const int n_threads;
  const OneDnn library;
};

class CpuStream final : public Stream {
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

 private:
  std::shared_ptr<const Shared> shared_;
  Scratch scratch_;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : shared_(std::make_shared<const Shared>(options)) {}

  std::string name() const override { return "cpu"; }
  std::string device() const override;
  DType activation_dtype() const override { return DType::f32; }
  DType kv_dtype() const override { return DType::f32; }
  int64_t page_tokens() const override { return kTileKeys; }

  void* allocate(size_t bytes) override { return cpu::allocate(bytes); }
  void release(void* memory) noexcept override { cpu::release(memory); }
  std::unique_ptr<PreparedWeight> prepare_weight(std::span<const ConstTensorView> row_blocks,
                                                 DType keep) override;
  std::unique_ptr<Stream> create_stream() override { return std::make_unique<CpuStream>(shared_); }

  MatmulMeasurement measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) override;
  double measure_read_bandwidth(size_t bytes) override;

 private:
  std::shared_ptr<const Shared> shared_;
  Arena weights_;
};

}  // namespace okapi::cpu
