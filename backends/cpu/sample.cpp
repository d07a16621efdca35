// The choice of a token from logits.
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"

namespace okapi::cpu {

void CpuStream::sample(ConstTensorView logits, std::span<const SampleRule> rules, TensorView ids) {
  const auto n_rows = static_cast<int64_t>(rules.size());
  const int64_t n = logits.shape[1];
  check_matrix(logits, n_rows, n, "sample: logits");
  check_vector(ids, n_rows, DType::i32, "sample: ids");
  check_sample_rules(rules, n);
  for (int64_t row = 0; row < n_rows; ++row) {
    const std::span<const float> values(floats(logits) + row * logits.strides[0],
                                        static_cast<size_t>(n));
    static_cast<int32_t*>(ids.data)[row] = chooser_.choose(values, rules[static_cast<size_t>(row)]);
  }
}

}  // namespace okapi::cpu
