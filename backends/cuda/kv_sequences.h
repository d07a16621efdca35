// The sequences of a call as kernels see them: one block of bytes in device memory, rows first,
// then the addresses of all their pages.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/cuda/queue.h"
#include "backends/training.h"

namespace okapi::cuda {

struct SequenceRow {
  const float* query_cos;
  const float* query_sin;
  const float* key_cos;
  const float* key_sin;
  int64_t first_row;
  int64_t first_page;  ///< among the addresses
  int32_t query_cos_stride;
  int32_t query_sin_stride;
  int32_t key_cos_stride;
  int32_t key_sin_stride;
  int32_t n_tokens;
  int32_t n_cached;
  int32_t keys_are_raw;
  float score_scale;
};

/// Where a layer's keys and values lie within a page.
struct PageLayout {
  int64_t layer_offset;  ///< bytes to the keys of the layer
  int64_t half_bytes;    ///< from keys to values
  int32_t page_tokens;
  int32_t n_kv_heads;
  int32_t head_dim;
  int32_t element_bytes;

  bool operator==(const PageLayout&) const = default;
};
PageLayout page_layout(const KvLayout& layout, int64_t layer);

/// Sequences in the order they were given; `few` of them are decoding.
struct SequenceTable {
  const SequenceRow* rows = nullptr;        ///< device
  const std::byte* const* pages = nullptr;  ///< device
};

/// Sequences with at most so many tokens in a call share their keys among parts: there are too few
/// queries to fill the device otherwise.
constexpr int64_t kFewTokens = 4;

/// Keeps the last tables: all layers of a pass ask for the same one.
class SequenceTables {
 public:
  SequenceTable stage(Queue& queue, std::span<const KvSequence* const> sequences);
  /// Whether that is the table of these sequences, still good. Stages nothing.
  bool is_table_of(const SequenceTable& table, const Queue& queue,
                   std::span<const KvSequence* const> sequences);
  /// Of a training batch: the keys of sequence i are one page at pages[i]; none where only rows and
  /// rotations are asked for.
  SequenceTable stage(Queue& queue, std::span<const TrainingSequence> sequences,
                      std::span<const void* const> pages = {});

 private:
  /// Fills bytes_; how many of them are rows.
  size_t lay_out(std::span<const KvSequence* const> sequences);
  /// What bytes_ holds, on the device.
  SequenceTable keep(Queue& queue, size_t row_bytes);
  /// Where it has been staged already; null: nowhere.
  const std::byte* find(const Queue& queue) const;

  struct Kept {
    std::vector<std::byte> bytes;
    const std::byte* device = nullptr;
    uint64_t epoch = 0;
  };
  static constexpr size_t kKept = 4;  // decoding and prefilling ones, of two groups of layers

  std::vector<std::byte> bytes_;
  Kept kept_[kKept];
  size_t next_ = 0;
};

/// Shapes, page counts and rotation tables; `what` names the operation.
void check_sequences(const char* what, int64_t n_rows, int64_t n_heads, const KvLayout& layout,
                     DType activations, int64_t layer, std::span<const KvSequence> sequences);

}  // namespace okapi::cuda
