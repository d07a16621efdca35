// The kernels of one instruction set, by name. Included by kernel sources only.
#pragma once

#include "backends/cpu/kernels/kernels.h"

namespace okapi::cpu::OKAPI_CPU_ISA {

void widen_bf16(const uint16_t* from, float* to, int64_t n);
void product_f32(const float* x, int64_t ldx, int64_t m, const float* w, int64_t n, int64_t k,
                 float* out, int64_t ldo);
void product_bf16(const float* x, int64_t ldx, int64_t m, const uint16_t* w, int64_t n, int64_t k,
                  float* out, int64_t ldo);
/// Weight rows of a panel, see product_panels.cpp: two vectors of f32.
constexpr int kPanelColumns = 2 * OKAPI_CPU_VECTOR_BYTES / 4;
void widen_panel(const uint16_t* w, int64_t k, float* panel);
void product_panel(const float* x, int64_t ldx, int64_t m, const float* panel, int64_t k,
                   float* out, int64_t ldo);
void add_rms_norm(float* residual, const float* delta, const float* weight, float epsilon,
                  float* out, int64_t n);
void rotate(const float* from, float* to, const float* cosines, const float* sines, int64_t n_heads,
            int64_t from_stride, int64_t to_stride, int64_t head_dim);
void swiglu(const float* gate, const float* up, float* out, int64_t n);
void fold_log_sum_exp(const float* logits, int64_t n, float* maximum, double* sum);
int64_t argmax(const float* x, int64_t n);
void attention_tile(const AttentionTile& tile);
void attention_rows(const AttentionTile& tile);
float read(const float* from, int64_t n);

void rms_norm_backward(const float* residual, const float* weight, float epsilon,
                       const float* out_gradient, float* residual_gradient, float* weight_gradient,
                       int64_t n);
void rotate_back(float* x, const float* cosines, const float* sines, int64_t n_heads,
                 int64_t head_dim);
void swiglu_backward(const float* gate, const float* up, const float* out_gradient,
                     float* gate_gradient, float* up_gradient, int64_t n);
void softmax_gradient(float* logits, int64_t n, float maximum, float scale);
void attention_backward_tile(const AttentionBackwardTile& tile);
void add(float* to, const float* from, int64_t n);
void dropout(const float* from, float* to, int64_t n, int64_t first_index, const DropoutMask& mask);
double squared_norm(const float* x, int64_t n);
void adamw(float* parameter, const float* gradient, float* first_moment, float* second_moment,
           int64_t n, const AdamWFactors& factors);

}  // namespace okapi::cpu::OKAPI_CPU_ISA
