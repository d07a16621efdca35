// What every backend asks of the tensors it is given; what one backend alone asks stands beside it.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "backends/backend.h"

namespace okapi {

inline std::string shape_text(const ConstTensorView& view) {
  std::string text = "[";
  for (int axis = 0; axis < view.rank; ++axis) {
    text += (axis > 0 ? ", " : "") + std::to_string(view.shape[axis]);
  }
  return text + "]";
}

/// A matrix [rows, columns] whose rows are contiguous each, of a dtype that the caller looked at;
/// what = "linear: x", dtypes = "f32 or bf16".
inline void check_matrix(const ConstTensorView& view, int64_t rows, int64_t columns, bool has_dtype,
                         const char* dtypes, const char* what) {
  if (view.rank != 2 || view.shape[0] != rows || view.shape[1] != columns) {
    throw BackendError(std::string(what) + ": wanted [" + std::to_string(rows) + ", " +
                       std::to_string(columns) + "], found " + shape_text(view));
  }
  if (!has_dtype) throw BackendError(std::string(what) + ": wanted " + dtypes);
  if (view.strides[1] != 1 && columns > 1) {
    throw BackendError(std::string(what) + ": the elements of a row must be contiguous");
  }
  if (view.empty() && rows * columns > 0)
    throw BackendError(std::string(what) + ": no memory given");
}

inline void check_vector(const ConstTensorView& view, int64_t n, DType dtype, const char* what) {
  if (view.rank != 1 || view.shape[0] != n || view.dtype != dtype ||
      (n > 1 && view.strides[0] != 1)) {
    throw BackendError(std::string(what) + ": wanted a contiguous vector of " + std::to_string(n) +
                       (dtype == DType::f32 ? " f32" : " i32") + ", found " + shape_text(view));
  }
  if (view.empty() && n > 0) throw BackendError(std::string(what) + ": no memory given");
}

/// n elements of any shape, one after another; has_dtype and dtypes as for check_matrix.
inline void check_contiguous(const ConstTensorView& view, int64_t n, bool has_dtype,
                             const char* dtypes, const char* what) {
  int64_t stride = 1;
  bool is_contiguous = true;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    is_contiguous = is_contiguous && (view.shape[axis] == 1 || view.strides[axis] == stride);
    stride *= view.shape[axis];
  }
  if (!has_dtype || view.count() != n || !is_contiguous) {
    throw BackendError(std::string(what) + ": wanted " + std::to_string(n) + " contiguous " +
                       dtypes + ", found " + shape_text(view));
  }
  if (view.empty() && n > 0) throw BackendError(std::string(what) + ": no memory given");
}

/// -1 where nothing is to be predicted.
inline void check_targets(std::span<const int32_t> targets, int64_t vocab_size, const char* what) {
  for (const int32_t target : targets) {
    if (target < -1 || target >= vocab_size) {
      throw BackendError(std::string(what) + ": target " + std::to_string(target) +
                         " is neither -1 nor below " + std::to_string(vocab_size));
    }
  }
}

inline void check_sample_rules(std::span<const SampleRule> rules, int64_t n_logits) {
  if (n_logits < 1 || n_logits > kMostSampledLogits) {
    throw BackendError("sample: wanted 1 to " + std::to_string(kMostSampledLogits) +
                       " logits in a row, found " + std::to_string(n_logits));
  }
  for (const SampleRule& rule : rules) {
    if (!(rule.temperature >= 0 && rule.temperature <= std::numeric_limits<float>::max())) {
      throw BackendError("sample: temperature must be finite and at least 0");
    }
    if (!(rule.top_p > 0 && rule.top_p <= 1)) {
      throw BackendError("sample: top_p must be above 0 and at most 1");
    }
    if (rule.top_k < 0) throw BackendError("sample: top_k must be at least 0");
    if (!(rule.draw >= 0 && rule.draw < 1)) {
      throw BackendError("sample: draw must be at least 0 and below 1");
    }
  }
}

/// A block of rows of a weight, beside the first one.
inline void check_row_block(const ConstTensorView& block, const ConstTensorView& first,
                            DType keep) {
  if (block.rank != 2 || block.empty())
    throw BackendError("prepare_weight: a row block must be a matrix");
  if (block.shape[1] != first.shape[1]) {
    throw BackendError("prepare_weight: row blocks of " + std::to_string(first.shape[1]) +
                       " and of " + std::to_string(block.shape[1]) + " columns");
  }
  if (block.strides[1] != 1)
    throw BackendError("prepare_weight: the elements of a row must be contiguous");
  if (block.dtype != DType::f32 && block.dtype != DType::f16 && block.dtype != DType::bf16) {
    throw BackendError("prepare_weight: a row block must be f32, f16 or bf16");
  }
  if (keep == DType::bf16 && block.dtype != DType::bf16) {
    throw BackendError("prepare_weight: only bf16 blocks can be kept as bf16");
  }
}

/// A table may hold more rows than are needed, never fewer.
inline void check_rotation(const std::string& what, const RotaryView& rotation, int64_t rows,
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

inline void check_heads(const char* what, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim) {
  const std::string name = what;
  if (n_kv_heads < 1 || n_heads < 1 || n_heads % n_kv_heads != 0) {
    throw BackendError(name + ": " + std::to_string(n_kv_heads) +
                       " key/value heads do not divide " + std::to_string(n_heads) + " heads");
  }
  if (head_dim < 2 || head_dim % 2 != 0) {
    throw BackendError(name + ": head_dim must be even, found " + std::to_string(head_dim));
  }
}

/// Everything but the cache's dtype.
inline void check_kv_sequences(const char* what, int64_t n_rows, int64_t n_heads,
                               const KvLayout& layout, int64_t layer,
                               std::span<const KvSequence> sequences) {
  const std::string name = what;
  check_heads(what, n_heads, layout.n_kv_heads, layout.head_dim);
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

}  // namespace okapi
