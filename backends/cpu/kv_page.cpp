#include "backends/cpu/kv_page.h"

#include "backends/cpu/checks.h"

namespace okapi::cpu {

/// A table may hold more rows than are needed, never fewer.
void check_rotation(const std::string& what, const RotaryView& rotation, int64_t rows,
                    int64_t pairs) {
  if (rotation.empty()) return;
  for (const ConstTensorView* const table : {&rotation.cos, &rotation.sin}) {
    if (table->rank != 2 || table->shape[0] < rows || table->shape[1] != pairs || table->empty() ||
        table->dtype != DType::f32 || table->strides[1] != 1) {
      throw BackendError(what + ": wanted f32 [" + std::to_string(rows) + ", " +
                         std::to_string(pairs) + "], found " + shape_text(*table));
    }
  }
}

void check_sequences(const char* what, int64_t n_rows, int64_t n_heads, const KvLayout& layout,
                     int64_t layer, std::span<const KvSequence> sequences) {
  const std::string name = what;
  if (layout.dtype != DType::f32) throw BackendError(name + ": the CPU backend caches f32");
  if (layout.n_kv_heads < 1 || n_heads < 1 || n_heads % layout.n_kv_heads != 0) {
    throw BackendError(name + ": " + std::to_string(layout.n_kv_heads) +
                       " key/value heads do not divide " + std::to_string(n_heads) + " heads");
  }
  if (layout.head_dim < 2 || layout.head_dim % 2 != 0) {
    throw BackendError(name + ": head_dim must be even, found " + std::to_string(layout.head_dim));
  }
  if (layout.page_tokens < 1) throw BackendError(name + ": page_tokens must be positive");
  if (layer < 0 || layer >= layout.n_layers) {
    throw BackendError(name + ": layer " + std::to_string(layer) + " of " +
                       std::to_string(layout.n_layers));
  }
  for (const KvSequence& sequence : sequences) {
    if (sequence.n_tokens < 1 || sequence.n_cached < 0 || sequence.first_row < 0 ||
        sequence.first_row + sequence.n_tokens > n_rows) {
      throw BackendError(name + ": a sequence of rows " + std::to_string(sequence.first_row) +
                         " to " + std::to_string(sequence.first_row + sequence.n_tokens) + " of " +
                         std::to_string(n_rows));
    }
    const int64_t n_keys = sequence.n_cached + sequence.n_tokens;
    if (sequence.n_pages < (n_keys + layout.page_tokens - 1) / layout.page_tokens) {
      throw BackendError(name + ": " + std::to_string(sequence.n_pages) + " pages of " +
                         std::to_string(layout.page_tokens) + " tokens do not hold " +
                         std::to_string(n_keys));
    }
    const int64_t pairs = layout.head_dim / 2;
    check_rotation(name + ": query_rotation", sequence.query_rotation, sequence.n_tokens, pairs);
    check_rotation(name + ": key_rotation", sequence.key_rotation,
                   sequence.keys_are_raw ? n_keys : sequence.n_tokens, pairs);
  }
}

}  // namespace okapi::cpu
