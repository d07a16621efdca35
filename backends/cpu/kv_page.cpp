#include "backends/cpu/kv_page.h"

#include "backends/cpu/checks.h"

namespace okapi::cpu {

void check_sequences(const char* what, int64_t n_rows, int64_t n_heads, const KvLayout& layout,
                     int64_t layer, std::span<const KvSequence> sequences) {
  if (layout.dtype != DType::f32) {
    throw BackendError(std::string(what) + ": the CPU backend caches f32");
  }
  check_kv_sequences(what, n_rows, n_heads, layout, layer, sequences);
}

}  // namespace okapi::cpu
