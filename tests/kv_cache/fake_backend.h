// A backend of host memory that counts what is allocated, and can be told to run out of it.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "backends/backend.h"

namespace okapi::test {

class CopyingStream : public Stream {
 public:
  void synchronize() override {}
  void upload(void* device, const void* host, size_t bytes) override {
    std::memcpy(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    std::memcpy(host, device, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }

  void embed(const PreparedWeight&, std::span<const int32_t>, TensorView) override { refuse(); }
  void add_rms_norm(TensorView, ConstTensorView, ConstTensorView, float, TensorView) override {
    refuse();
  }
  void linear(ConstTensorView, const PreparedWeight&, TensorView) override { refuse(); }
  void rotate_and_store(TensorView, int64_t, const KvLayout&, int64_t,
                        std::span<const KvSequence>) override {
    refuse();
  }
  void attention(ConstTensorView, int64_t, const KvLayout&, int64_t, std::span<const KvSequence>,
                 TensorView) override {
    refuse();
  }
  void swiglu(ConstTensorView, TensorView) override { refuse(); }
  void log_loss(ConstTensorView, const PreparedWeight&, std::span<const int32_t>,
                TensorView) override {
    refuse();
  }
  void gather_rows(ConstTensorView, std::span<const int64_t>, TensorView) override { refuse(); }
  void argmax(ConstTensorView, TensorView) override { refuse(); }
  void sample(ConstTensorView, std::span<const SampleRule>, TensorView) override { refuse(); }

 private:
  [[noreturn]] static void refuse() { throw std::logic_error("this backend only copies"); }
};

class CountingBackend : public Backend {
 public:
  std::string name() const override { return "counting"; }
  std::string device() const override { return "host"; }
  DType activation_dtype() const override { return DType::f32; }
  DType kv_dtype() const override { return DType::f32; }
  int64_t page_tokens() const override { return 4; }

  void* allocate(size_t bytes) override {
    if (n_until_empty == 0) throw std::bad_alloc();
    if (n_until_empty > 0) --n_until_empty;
    ++n_allocations;
    ++n_alive;
    return ::operator new (bytes, std::align_val_t{64});
  }
  void release(void* memory) noexcept override {
    if (memory == nullptr) return;
    --n_alive;
    ::operator delete (memory, std::align_val_t{64});
  }
  std::unique_ptr<PreparedWeight> prepare_weight(std::span<const ConstTensorView>, DType) override {
    throw std::logic_error("this backend only copies");
  }
  std::unique_ptr<Stream> create_stream() override { return std::make_unique<CopyingStream>(); }
  MatmulMeasurement measure_matmul(int64_t, int64_t, int64_t, DType) override { return {}; }
  double measure_read_bandwidth(size_t) override { return 0; }

  int64_t n_allocations = 0;
  int64_t n_alive = 0;
  int64_t n_until_empty = -1;  ///< allocations that still succeed; -1: any number
};

}  // namespace okapi::test
