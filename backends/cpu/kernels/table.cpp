// The table of this instruction set's kernels.
#include "backends/cpu/kernels/declare.h"

#define OKAPI_QUOTE_EXPANDED(x) #x
#define OKAPI_QUOTE(x) OKAPI_QUOTE_EXPANDED(x)

namespace okapi::cpu::OKAPI_CPU_ISA {

extern const Kernels kTable;
const Kernels kTable = {
    .name = OKAPI_QUOTE(OKAPI_CPU_ISA),
    .attention_lanes = 2 * OKAPI_CPU_VECTOR_BYTES / 4,
    .panel_columns = kPanelColumns,
    .widen_bf16 = widen_bf16,
    .product_f32 = product_f32,
    .product_bf16 = product_bf16,
    .widen_panel = widen_panel,
    .product_panel = product_panel,
    .add_rms_norm = add_rms_norm,
    .rotate = rotate,
    .swiglu = swiglu,
    .fold_log_sum_exp = fold_log_sum_exp,
    .argmax = argmax,
    .attention_tile = attention_tile,
    .read = read,
    .rms_norm_backward = rms_norm_backward,
    .rotate_back = rotate_back,
    .swiglu_backward = swiglu_backward,
    .softmax_gradient = softmax_gradient,
    .attention_backward_tile = attention_backward_tile,
    .add = add,
    .dropout = dropout,
    .squared_norm = squared_norm,
    .adamw = adamw,
};

}  // namespace okapi::cpu::OKAPI_CPU_ISA
