// Matrix products with a weight.
//
//   few rows           own kernel, bound by reading the weight once
//   f32, many rows     the library, on the weight's rows or on its packed copy
//   bf16, many rows    own kernel, on blocks of the weight widened to f32
//
// The library's bf16 product is not used: it would round the inputs to bf16 too. Its f32 product on
// widened rows lays them out anew in each call, which widening can do on the way.
#include "backends/cpu/checks.h"
#include "backends/cpu/product.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

/// Threads divide the weight's rows.
void multiply_few(const Shared& shared, const float* x, int64_t ldx, int64_t m,
                  const CpuWeight& weight, int64_t begin, int64_t end, float* out, int64_t ldo) {
  constexpr int64_t kGrain = 16;  // a cache line of the output
  const int64_t k = weight.columns;
  parallel_ranges(end - begin, kGrain, (end - begin) * k * m, [&](int64_t first, int64_t last) {
    if (weight.dtype == DType::bf16) {
      shared.kernels.product_bf16(x, ldx, m, weight.bf16_row(begin + first), last - first, k,
                                  out + first, ldo);
    } else {
      shared.kernels.product_f32(x, ldx, m, weight.f32_row(begin + first), last - first, k,
                                 out + first, ldo);
    }
  });
}

/// The packed copy takes only certain numbers of rows; what is left goes through the weight's rows.
void multiply_packed(const Shared& shared, Scratch& scratch, const float* x, int64_t ldx, int64_t m,
                     const CpuWeight& weight, const PackedMatrix& packed, float* out, int64_t ldo) {
  while (const int64_t rows = OneDnn::packed_rows(m)) {
    shared.library.product_packed(x, ldx, rows, packed, out, ldo, scratch);
    x += rows * ldx;
    out += rows * ldo;
    m -= rows;
  }
  if (m >= library_rows(DType::f32)) {
    shared.library.product(x, ldx, m, weight.f32_row(0), weight.rows, weight.columns, out, ldo);
  } else if (m > 0) {
    multiply_few(shared, x, ldx, m, weight, 0, weight.rows, out, ldo);
  }
}

/// Rows [begin, end) of a bf16 weight, at most rows_per_block(), by panels.
void multiply_panels(const Shared& shared, Scratch& scratch, const float* x, int64_t ldx, int64_t m,
                     const CpuWeight& weight, int64_t begin, int64_t end, float* out, int64_t ldo) {
  const int64_t k = weight.columns;
  // Input rows that stay in a core's second cache while panels pass by; a multiple of every
  // register tile.
  const int64_t input_rows = k < 2048 ? 96 : 48;
  const int64_t width = shared.kernels.panel_columns;
  const int64_t n_panels = (end - begin) / width;
  const int64_t n_blocks = (m + input_rows - 1) / input_rows;
  auto* const panels =
      scratch.get<float>(ScratchUse::weight_block, static_cast<size_t>(n_panels * width * k));
  parallel_ranges(n_panels, 1, n_panels * width * k, [&](int64_t first, int64_t last) {
    for (int64_t panel = first; panel < last; ++panel) {
      shared.kernels.widen_panel(weight.bf16_row(begin + panel * width), k,
                                 panels + panel * width * k);
    }
  });
  // All panels with the first rows, then with the next ones.
  parallel_ranges(
      n_blocks * n_panels, 1, m * n_panels * width * k, [&](int64_t first, int64_t last) {
        for (int64_t part = first; part < last; ++part) {
          const int64_t row = part / n_panels * input_rows;
          const int64_t panel = part % n_panels;
          shared.kernels.product_panel(x + row * ldx, ldx, std::min(input_rows, m - row),
                                       panels + panel * width * k, k,
                                       out + row * ldo + panel * width, ldo);
        }
      });
  const int64_t done = n_panels * width;
  if (begin + done < end) {
    multiply_few(shared, x, ldx, m, weight, begin + done, end, out + done, ldo);
  }
}

}  // namespace

int64_t rows_per_block(const CpuWeight& weight) {
  constexpr int64_t kFewest = 64;
  return std::max(kFewest,
                  kBlockElements / std::max<int64_t>(1, weight.columns) / kFewest * kFewest);
}

int64_t vocabulary_block(const CpuWeight& weight) {
  constexpr int64_t kMost = 4096;
  return std::min({weight.rows, rows_per_block(weight), kMost});
}

const float* widened_rows(const Shared& shared, Scratch& scratch, const CpuWeight& weight,
                          int64_t begin, int64_t end) {
  if (weight.dtype == DType::f32) return weight.f32_row(begin);
  const int64_t k = weight.columns;
  auto* const block =
      scratch.get<float>(ScratchUse::weight_block, static_cast<size_t>((end - begin) * k));
  parallel_ranges(end - begin, 1, (end - begin) * k, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      shared.kernels.widen_bf16(weight.bf16_row(begin + row), block + row * k, k);
    }
  });
  return block;
}

void multiply(const Shared& shared, Scratch& scratch, const float* x, int64_t ldx, int64_t m,
              const CpuWeight& weight, int64_t begin, int64_t end, float* out, int64_t ldo) {
  if (m < library_rows(weight.dtype)) {
    multiply_few(shared, x, ldx, m, weight, begin, end, out, ldo);
    return;
  }
  if (begin == 0 && end == weight.rows && OneDnn::packed_rows(m) > 0) {
    if (const PackedMatrix* const packed = weight.packed(shared.library)) {
      multiply_packed(shared, scratch, x, ldx, m, weight, *packed, out, ldo);
      return;
    }
  }
  if (weight.dtype == DType::f32) {
    shared.library.product(x, ldx, m, weight.f32_row(begin), end - begin, weight.columns, out, ldo);
    return;
  }
  const int64_t step = rows_per_block(weight);
  for (int64_t row = begin; row < end; row += step) {
    multiply_panels(shared, scratch, x, ldx, m, weight, row, std::min(end, row + step),
                    out + (row - begin), ldo);
  }
}

void CpuStream::linear(ConstTensorView x, const PreparedWeight& weight, TensorView out) {
  const CpuWeight& w = cpu_weight(weight);
  const int64_t m = x.shape[0];
  check_matrix(x, m, w.columns, "linear: x");
  check_matrix(out, m, w.rows, "linear: out");
  if (m == 0) return;
  const ThreadLimit limit(shared_->n_threads);
  if (row_invariant_ && m <= kInvariantRows) {
    // A single row has a kernel of its own, which adds up in another order: it goes twice, to the
    // same place, as one of two.
    const bool is_single = m == 1;
    multiply_few(*shared_, floats(x), is_single ? 0 : x.strides[0], is_single ? 2 : m, w, 0, w.rows,
                 floats(out), is_single ? 0 : out.strides[0]);
    return;
  }
  multiply(*shared_, scratch_, floats(x), x.strides[0], m, w, 0, w.rows, floats(out),
           out.strides[0]);
}

void CpuStream::linear_backward_input(ConstTensorView out_gradient, const PreparedWeight& weight,
                                      TensorView x_gradient, bool adds) {
  const CpuWeight& w = cpu_weight(weight);
  const int64_t m = out_gradient.shape[0];
  check_matrix(out_gradient, m, w.rows, "linear_backward_input: out_gradient");
  check_matrix(x_gradient, m, w.columns, "linear_backward_input: x_gradient");
  if (m == 0) return;
  const ThreadLimit limit(shared_->n_threads);
  const int64_t step = w.dtype == DType::f32 ? w.rows : rows_per_block(w);
  for (int64_t row = 0; row < w.rows; row += step) {
    const int64_t last = std::min(w.rows, row + step);
    shared_->library.gemm(false, false, m, w.columns, last - row, 1.0F, floats(out_gradient) + row,
                          out_gradient.strides[0], widened_rows(*shared_, scratch_, w, row, last),
                          w.columns, adds || row > 0 ? 1.0F : 0.0F, floats(x_gradient),
                          x_gradient.strides[0]);
  }
}

void CpuStream::linear_backward_weight(ConstTensorView out_gradient, ConstTensorView x,
                                       TensorView weight_gradient) {
  const int64_t m = out_gradient.shape[0];
  const int64_t n = weight_gradient.shape[0];
  const int64_t k = weight_gradient.shape[1];
  check_matrix(out_gradient, m, n, "linear_backward_weight: out_gradient");
  check_matrix(x, m, k, "linear_backward_weight: x");
  check_matrix(weight_gradient, n, k, "linear_backward_weight: weight_gradient");
  if (m == 0) return;
  const ThreadLimit limit(shared_->n_threads);
  shared_->library.gemm(true, false, n, k, m, 1.0F, floats(out_gradient), out_gradient.strides[0],
                        floats(x), x.strides[0], 1.0F, floats(weight_gradient),
                        weight_gradient.strides[0]);
}

}  // namespace okapi::cpu
