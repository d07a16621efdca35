// Matrix products with a weight.
//
//   few rows                   own kernels, bound by reading the weight once (few_rows.cu)
//   more, one dtype            cuBLASLt, bf16 or f32, sums in f32
//   more, two dtypes           as f32: what is bf16 is widened first. Slow, and nobody's usual
//   path.
#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/convert.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/few_rows.h"

namespace okapi::cuda {

namespace {

/// With as many rows of the weight, from the first on, as `out` has columns.
FewRowsProduct product_of(ConstTensorView x, const CudaWeight& weight, int64_t first,
                          TensorView out) {
  FewRowsProduct product;
  product.x = x;
  product.w = static_cast<const std::byte*>(weight.data()) +
              static_cast<size_t>(first * weight.columns) * size_of(weight.dtype);
  product.weight_dtype = weight.dtype;
  product.k = weight.columns;
  product.out = out;
  return product;
}

}  // namespace

void CudaStream::multiply(ConstTensorView x, const CudaWeight& weight, int64_t first,
                          TensorView out) {
  multiply(product_of(x, weight, first, out));
}

void CudaStream::multiply(const FewRowsProduct& wanted) {
  const ConstTensorView x = wanted.x;
  const int64_t m = x.shape[0];
  const int64_t k = wanted.k;
  const int64_t n = wanted.out.shape[1];
  if (m <= kFewRows) {
    multiply_few_rows(queue_, wanted, shared_->size);
    return;
  }
  const bool adds = !wanted.residual.empty();
  const TensorView out = adds ? wanted.residual : wanted.out;
  // Views of one row have no stride to speak of.
  Product product{m, n, k, x.strides[0], k, out.strides[0], x.dtype, out.dtype};
  const void* from = x.data;
  const void* rows = wanted.w;
  void* to = out.data;
  const bool goes_as_it_is =
      x.dtype == wanted.weight_dtype && !(x.dtype == DType::f32 && out.dtype == DType::bf16);
  if (!goes_as_it_is) {
    product.in = DType::f32;
    if (x.dtype == DType::bf16) {
      void* const wide = scratch(converted_x_, static_cast<size_t>(m * k) * sizeof(float));
      convert(queue_, x, TensorView(wide, DType::f32, {m, k}));
      from = wide;
      product.ldx = k;
    }
    if (wanted.weight_dtype == DType::bf16) {
      void* const wide = scratch(converted_weight_, static_cast<size_t>(n * k) * sizeof(float));
      convert(queue_, ConstTensorView(rows, DType::bf16, {n, k}),
              TensorView(wide, DType::f32, {n, k}));
      rows = wide;
    }
    if (out.dtype == DType::bf16) {
      to = scratch(converted_out_, static_cast<size_t>(m * n) * sizeof(float));
      product.out = DType::f32;
      product.ldo = n;
    }
  }
  product.set_alignment(from, rows, to);
  void* const workspace = scratch(blas_workspace_, Blas::kWorkspaceBytes);
  shared_->blas.multiply(product, from, rows, to, workspace, queue_.stream(), 1.0F,
                         adds ? 1.0F : 0.0F);
  if (to != out.data) convert(queue_, ConstTensorView(to, DType::f32, {m, n}), out);
}

void CudaStream::linear(ConstTensorView x, const PreparedWeight& weight, TensorView out) {
  const CudaWeight& w = cuda_weight(weight);
  const int64_t m = x.shape[0];
  check_matrix(x, m, w.columns, "linear: x");
  check_matrix(out, m, w.rows, "linear: out");
  if (m == 0 || w.rows == 0) return;
  const CurrentDevice current(shared_->device);
  if (m > kFewRows || x.dtype != DType::bf16) {
    begin(m);
    const FewRowsProduct product = product_of(x, w, 0, out);
    if (m > kFewRows && x.dtype == w.dtype && x.dtype == out.dtype) {
      waiting_product_ = product;  // it may turn out to be an addition
    } else {
      multiply(product);
    }
    return;
  }

  // Decoding: what waits to be multiplied is taken in, and the product itself waits for what may be
  // done with its result.
  FewRowsProduct product;
  if (waiting_rows_ && waiting_rows_->rows.data == x.data && waiting_rows_->k == w.columns &&
      waiting_rows_->rows.shape[0] == m && waiting_rows_->rows.strides[0] == x.strides[0]) {
    product = *waiting_rows_;
  }
  product.w = w.data();
  product.weight_dtype = w.dtype;
  product.k = w.columns;
  product.out = out;
  if (product.from == RowsFrom::tensor || !takes_tensor_cores(product)) {
    product = product_of(x, w, 0, out);
  } else {
    waiting_rows_.reset();
  }
  begin(m);
  if (takes_tensor_cores(product)) {
    waiting_product_ = product;
  } else {
    multiply_few_rows(queue_, product, shared_->size);
  }
}

void CudaStream::settle() {
  if (waiting_product_) {
    const FewRowsProduct product = *waiting_product_;
    waiting_product_.reset();
    multiply(product);
  }
  if (waiting_rows_) {
    const FewRowsProduct rows = *waiting_rows_;
    waiting_rows_.reset();
    TensorView residual(const_cast<void*>(rows.x.data), rows.x.dtype,
                        {rows.x.shape[0], rows.x.shape[1]});
    residual.strides[0] = rows.x.strides[0];
    norm_now(residual, {}, ConstTensorView(rows.gain, DType::f32, {rows.k}), rows.epsilon,
             rows.rows);
  }
  if (waiting_rotation_) {
    const WaitingRotation rotation = *waiting_rotation_;
    waiting_rotation_.reset();
    rotate_now(rotation, false);
  }
}

void CudaStream::begin(int64_t n_rows) {
  settle();
  stored_rows_.qkv = nullptr;
  queue_.begin(n_rows);
}

}  // namespace okapi::cuda
