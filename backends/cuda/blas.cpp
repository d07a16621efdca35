#include "backends/cuda/blas.h"

#include <cublasLt.h>

#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/libraries.h"

namespace okapi::cuda {

namespace {

#define OKAPI_TEXT_OF(x) #x
#define OKAPI_TEXT(x) OKAPI_TEXT_OF(x)
constexpr const char* kLibrary = "libcublasLt.so." OKAPI_TEXT(CUBLAS_VER_MAJOR);

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw std::bad_alloc();
  throw BackendError(std::string("cuBLASLt: ") + what + " failed with status " +
                     std::to_string(static_cast<int>(status)));
}

cudaDataType_t type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

}  // namespace

void Product::set_alignment(const void* x, const void* w, const void* to) {
  const auto of_in = static_cast<int64_t>(size_of(in));
  const auto of_out = static_cast<int64_t>(size_of(out));
  const uintptr_t all = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(w) |
                        reinterpret_cast<uintptr_t>(to) | static_cast<uintptr_t>(ldx * of_in) |
                        static_cast<uintptr_t>(ldw * of_in) | static_cast<uintptr_t>(ldo * of_out) |
                        16U;
  alignment = static_cast<int>(all & (~all + 1));  // the lowest bit that any of them has
}

struct Blas::Functions {
  Library library{kLibrary};
  decltype(cublasLtCreate)* create;
  decltype(cublasLtDestroy)* destroy;
  decltype(cublasLtGetVersion)* get_version;
  decltype(cublasLtMatmul)* matmul;
  decltype(cublasLtMatmulDescCreate)* desc_create;
  decltype(cublasLtMatmulDescDestroy)* desc_destroy;
  decltype(cublasLtMatmulDescSetAttribute)* desc_set;
  decltype(cublasLtMatrixLayoutCreate)* layout_create;
  decltype(cublasLtMatrixLayoutDestroy)* layout_destroy;
  decltype(cublasLtMatmulPreferenceCreate)* preference_create;
  decltype(cublasLtMatmulPreferenceDestroy)* preference_destroy;
  decltype(cublasLtMatmulPreferenceSetAttribute)* preference_set;
  decltype(cublasLtMatmulAlgoGetHeuristic)* heuristic;

  Functions() {
    library.find("cublasLtCreate", create);
    library.find("cublasLtDestroy", destroy);
    library.find("cublasLtGetVersion", get_version);
    library.find("cublasLtMatmul", matmul);
    library.find("cublasLtMatmulDescCreate", desc_create);
    library.find("cublasLtMatmulDescDestroy", desc_destroy);
    library.find("cublasLtMatmulDescSetAttribute", desc_set);
    library.find("cublasLtMatrixLayoutCreate", layout_create);
    library.find("cublasLtMatrixLayoutDestroy", layout_destroy);
    library.find("cublasLtMatmulPreferenceCreate", preference_create);
    library.find("cublasLtMatmulPreferenceDestroy", preference_destroy);
    library.find("cublasLtMatmulPreferenceSetAttribute", preference_set);
    library.find("cublasLtMatmulAlgoGetHeuristic", heuristic);
  }
};

/// In the library's column-major words: out^T [n, m] = (w^T)^T [n, k] times x^T [k, m]. Rows that
/// lie as [a, b] are its columns of b.
struct Blas::Plan {
  Plan(const Functions& f, cublasLtHandle_t handle, const Product& p) : functions(f) {
    // f32 stays f32: no shortened mantissa (TF32).
    check_blas(f.desc_create(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "desc_create");
    const cublasOperation_t op_w = p.w_transposed ? CUBLAS_OP_N : CUBLAS_OP_T;
    const cublasOperation_t op_x = p.x_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_blas(f.desc_set(operation, CUBLASLT_MATMUL_DESC_TRANSA, &op_w, sizeof(op_w)), "transa");
    check_blas(f.desc_set(operation, CUBLASLT_MATMUL_DESC_TRANSB, &op_x, sizeof(op_x)), "transb");
    const auto u = [](int64_t size) { return static_cast<uint64_t>(size); };
    check_blas(f.layout_create(&w, type_of(p.in), u(p.w_transposed ? p.n : p.k),
                               u(p.w_transposed ? p.k : p.n), p.ldw),
               "layout of w");
    check_blas(f.layout_create(&x, type_of(p.in), u(p.x_transposed ? p.m : p.k),
                               u(p.x_transposed ? p.k : p.m), p.ldx),
               "layout of x");
    check_blas(f.layout_create(&out, type_of(p.out), u(p.n), u(p.m), p.ldo), "layout of out");

    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(f.preference_create(&preference), "preference_create");
    const size_t workspace = kWorkspaceBytes;
    const auto alignment = static_cast<uint32_t>(p.alignment);
    f.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                     sizeof(workspace));
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      f.preference_set(preference, attribute, &alignment, sizeof(alignment));
    }
    cublasLtMatmulHeuristicResult_t found = {};
    int n_found = 0;
    const cublasStatus_t status =
        f.heuristic(handle, operation, w, x, out, out, preference, 1, &found, &n_found);
    f.preference_destroy(preference);
    check_blas(status, "heuristic");
    if (n_found == 0) throw BackendError("cuBLASLt: no algorithm for this product");
    algorithm = found.algo;
  }
  ~Plan() {
    if (operation != nullptr) functions.desc_destroy(operation);
    for (const cublasLtMatrixLayout_t layout : {w, x, out}) {
      if (layout != nullptr) functions.layout_destroy(layout);
    }
  }

  const Functions& functions;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
};

Blas::Blas() : functions_(std::make_unique<const Functions>()) {
  cublasLtHandle_t handle = nullptr;
  check_blas(functions_->create(&handle), "create");
  handle_ = handle;
}

Blas::~Blas() {
  plans_.clear();
  functions_->destroy(static_cast<cublasLtHandle_t>(handle_));
}

const Blas::Plan& Blas::plan(const Product& product) const {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<const Plan>& plan = plans_[product.key()];
  if (!plan) {
    plan =
        std::make_unique<const Plan>(*functions_, static_cast<cublasLtHandle_t>(handle_), product);
  }
  return *plan;
}

void Blas::multiply(const Product& product, const void* x, const void* w, void* out,
                    void* workspace, cudaStream_t stream, float alpha, float beta) const {
  const Plan& p = plan(product);
  check_blas(functions_->matmul(static_cast<cublasLtHandle_t>(handle_), p.operation, &alpha, w, p.w,
                                x, p.x, &beta, out, p.out, out, p.out, &p.algorithm, workspace,
                                kWorkspaceBytes, stream),
             "matmul");
}

std::string Blas::version() const {
  const size_t v = functions_->get_version();
  return "cuBLASLt " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
         std::to_string(v % 100);
}

}  // namespace okapi::cuda
