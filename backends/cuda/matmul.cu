// Products of plain matrices, and the backward of those with a weight.
//
// Operands of one dtype go to the library as they are. Where they differ, one is converted first:
// to bf16 where the result is bf16, to f32 otherwise. That is LoRA's narrow matrices beside bf16
// activations, and a frozen bf16 weight in a run that computes in f32.
#include "backends/cuda/checks.h"
#include "backends/cuda/convert.h"
#include "backends/cuda/cuda_backend.h"

namespace okapi::cuda {

void CudaStream::multiply_matrices(ConstTensorView a, bool transpose_a, ConstTensorView b,
                                   bool transpose_b, float alpha, float beta, TensorView out) {
  const bool both_narrow = a.dtype == DType::bf16 && b.dtype == DType::bf16;
  const DType in = out.dtype == DType::bf16 || both_narrow ? DType::bf16 : DType::f32;
  const auto operand = [&](ConstTensorView view, DeviceBuffer& buffer) {
    if (view.dtype == in) return view;
    const TensorView converted(scratch(buffer, static_cast<size_t>(view.count()) * size_of(in)), in,
                               {view.shape[0], view.shape[1]});
    convert(queue_, view, converted);
    return ConstTensorView(converted);
  };
  const ConstTensorView x = operand(a, converted_x_);
  const ConstTensorView w = operand(b, converted_weight_);
  Product product;
  product.m = out.shape[0];
  product.n = out.shape[1];
  product.k = a.shape[transpose_a ? 0 : 1];
  product.ldx = x.strides[0];
  product.ldw = w.strides[0];
  product.ldo = out.strides[0];
  product.in = in;
  product.out = out.dtype;
  product.x_transposed = transpose_a;
  product.w_transposed = !transpose_b;
  product.set_alignment(x.data, w.data, out.data);
  void* const workspace = scratch(blas_workspace_, Blas::kWorkspaceBytes);
  shared_->blas.multiply(product, x.data, w.data, out.data, workspace, queue_.stream(), alpha,
                         beta);
}

void CudaStream::matmul(ConstTensorView a, bool transpose_a, ConstTensorView b, bool transpose_b,
                        float alpha, float beta, TensorView out) {
  const int64_t m = out.shape[0];
  const int64_t n = out.shape[1];
  const int64_t k = a.shape[transpose_a ? 0 : 1];
  check_matrix(a, transpose_a ? k : m, transpose_a ? m : k, "matmul: a");
  check_matrix(b, transpose_b ? n : k, transpose_b ? k : n, "matmul: b");
  check_matrix(out, m, n, "matmul: out");
  if (m == 0 || n == 0) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  multiply_matrices(a, transpose_a, b, transpose_b, alpha, beta, out);
}

void CudaStream::linear_backward_input(ConstTensorView out_gradient, const PreparedWeight& weight,
                                       TensorView x_gradient, bool adds) {
  const CudaWeight& w = cuda_weight(weight);
  const int64_t m = out_gradient.shape[0];
  check_matrix(out_gradient, m, w.rows, "linear_backward_input: out_gradient");
  check_matrix(x_gradient, m, w.columns, "linear_backward_input: x_gradient");
  if (m == 0) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  multiply_matrices(out_gradient, false, w.view(), false, 1.0F, adds ? 1.0F : 0.0F, x_gradient);
}

void CudaStream::linear_backward_weight(ConstTensorView out_gradient, ConstTensorView x,
                                        TensorView weight_gradient) {
  const int64_t m = out_gradient.shape[0];
  const int64_t n = weight_gradient.shape[0];
  const int64_t k = weight_gradient.shape[1];
  check_matrix(out_gradient, m, n, "linear_backward_weight: out_gradient");
  check_matrix(x, m, k, "linear_backward_weight: x");
  check_matrix(weight_gradient, n, k, "linear_backward_weight: weight_gradient");
  check_gradient_dtype(weight_gradient, "linear_backward_weight: weight_gradient");
  if (m == 0) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  multiply_matrices(out_gradient, true, x, false, 1.0F, 1.0F, weight_gradient);
}

}  // namespace okapi::cuda
