// Matrix products by cuBLASLt, the only file that sees it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "backends/backend.h"

namespace okapi::cuda {

/// out [m, n] = alpha x [m, k] times w [n, k] transposed + beta out, rows `ldx`, `ldw`, `ldo`
/// elements apart. x and w have one dtype; out has it too, or is f32.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  int64_t ldx = 0, ldw = 0, ldo = 0;
  DType in = DType::f32;
  DType out = DType::f32;
  int alignment = 4;          ///< bytes that all three addresses are multiples of, at most 16
  bool x_transposed = false;  ///< x lies as [k, m]
  bool w_transposed = false;  ///< w lies as [k, n]

  void set_alignment(const void* x, const void* w, const void* to);

  auto key() const {
    return std::tuple(m, n, k, ldx, ldw, ldo, static_cast<int>(in), static_cast<int>(out),
                      alignment, x_transposed, w_transposed);
  }
};

/// Safe from several threads. What the library chose for a shape is kept.
class Blas {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{64} << 20;

  Blas();
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  void multiply(const Product& product, const void* x, const void* w, void* out, void* workspace,
                cudaStream_t stream, float alpha = 1, float beta = 0) const;

  std::string version() const;

 private:
  struct Functions;
  struct Plan;

  const Plan& plan(const Product& product) const;

  std::unique_ptr<const Functions> functions_;
  void* handle_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::map<decltype(Product().key()), std::unique_ptr<const Plan>> plans_;
};

}  // namespace okapi::cuda
