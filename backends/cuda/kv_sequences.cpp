#include "backends/cuda/kv_sequences.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "backends/cuda/checks.h"

namespace okapi::cuda {

namespace {

// A list of pages takes room for a multiple of this, so that a sequence that grows by a page does
// not move what lies behind it, and a captured graph stays good for a while.
constexpr int64_t kPageStep = 64;

SequenceRow row_of(const KvSequence& sequence) {
  SequenceRow row = {};
  const auto table = [](const ConstTensorView& view, const float*& data, int32_t& stride) {
    data = static_cast<const float*>(view.data);
    stride = static_cast<int32_t>(view.strides[0]);
  };
  table(sequence.query_rotation.cos, row.query_cos, row.query_cos_stride);
  table(sequence.query_rotation.sin, row.query_sin, row.query_sin_stride);
  table(sequence.key_rotation.cos, row.key_cos, row.key_cos_stride);
  table(sequence.key_rotation.sin, row.key_sin, row.key_sin_stride);
  row.first_row = sequence.first_row;
  row.n_tokens = static_cast<int32_t>(sequence.n_tokens);
  row.n_cached = static_cast<int32_t>(sequence.n_cached);
  row.keys_are_raw = sequence.keys_are_raw && !sequence.key_rotation.empty() ? 1 : 0;
  row.score_scale = sequence.score_scale;
  return row;
}

}  // namespace

PageLayout page_layout(const KvLayout& layout, int64_t layer) {
  PageLayout result = {};
  result.layer_offset = static_cast<int64_t>(layout.layer_bytes()) * layer;
  result.half_bytes = static_cast<int64_t>(layout.half_bytes());
  result.page_tokens = static_cast<int32_t>(layout.page_tokens);
  result.n_kv_heads = static_cast<int32_t>(layout.n_kv_heads);
  result.head_dim = static_cast<int32_t>(layout.head_dim);
  result.element_bytes = static_cast<int32_t>(size_of(layout.dtype));
  return result;
}

size_t SequenceTables::lay_out(std::span<const KvSequence* const> sequences) {
  int64_t n_addresses = 0;
  for (const KvSequence* sequence : sequences) {
    n_addresses += (sequence->n_pages + kPageStep - 1) / kPageStep * kPageStep;
  }
  const size_t row_bytes = sequences.size() * sizeof(SequenceRow);
  const size_t page_bytes = static_cast<size_t>(n_addresses) * sizeof(void*);
  bytes_.assign(row_bytes + page_bytes, std::byte{0});

  std::byte* row_at = bytes_.data();
  std::byte* page_at = bytes_.data() + row_bytes;
  int64_t first_page = 0;
  for (const KvSequence* sequence : sequences) {
    SequenceRow row = row_of(*sequence);
    row.first_page = first_page;
    std::memcpy(row_at, &row, sizeof(row));
    row_at += sizeof(row);
    std::memcpy(page_at, sequence->pages, static_cast<size_t>(sequence->n_pages) * sizeof(void*));
    const int64_t n_room = (sequence->n_pages + kPageStep - 1) / kPageStep * kPageStep;
    page_at += static_cast<size_t>(n_room) * sizeof(void*);
    first_page += n_room;
  }
  return row_bytes;
}

SequenceTable SequenceTables::stage(Queue& queue, std::span<const KvSequence* const> sequences) {
  const size_t row_bytes = lay_out(sequences);
  return keep(queue, row_bytes);
}

bool SequenceTables::is_table_of(const SequenceTable& table, const Queue& queue,
                                 std::span<const KvSequence* const> sequences) {
  lay_out(sequences);
  return find(queue) == reinterpret_cast<const std::byte*>(table.rows);
}

SequenceTable SequenceTables::stage(Queue& queue, std::span<const TrainingSequence> sequences,
                                    std::span<const void* const> pages) {
  const size_t row_bytes = sequences.size() * sizeof(SequenceRow);
  bytes_.assign(row_bytes + pages.size_bytes(), std::byte{0});
  for (size_t i = 0; i < sequences.size(); ++i) {
    KvSequence uncached;
    uncached.first_row = sequences[i].first_row;
    uncached.n_tokens = sequences[i].n_tokens;
    uncached.query_rotation = sequences[i].query_rotation;
    uncached.key_rotation = sequences[i].key_rotation;
    uncached.score_scale = sequences[i].score_scale;
    SequenceRow row = row_of(uncached);
    row.first_page = static_cast<int64_t>(i);
    std::memcpy(bytes_.data() + i * sizeof(row), &row, sizeof(row));
  }
  if (!pages.empty()) std::memcpy(bytes_.data() + row_bytes, pages.data(), pages.size_bytes());
  return keep(queue, row_bytes);
}

const std::byte* SequenceTables::find(const Queue& queue) const {
  for (const Kept& kept : kept_) {
    if (kept.epoch == queue.epoch() && kept.bytes.size() == bytes_.size() &&
        std::memcmp(kept.bytes.data(), bytes_.data(), bytes_.size()) == 0) {
      return kept.device;
    }
  }
  return nullptr;
}

SequenceTable SequenceTables::keep(Queue& queue, size_t row_bytes) {
  const std::byte* device = find(queue);
  if (device == nullptr) {
    Kept& kept = kept_[next_];
    next_ = (next_ + 1) % kKept;
    device = static_cast<const std::byte*>(queue.stage(bytes_.data(), bytes_.size()));
    kept.device = device;
    kept.epoch = queue.epoch();  // after staging, which may have begun a new one
    kept.bytes = bytes_;
  }
  return {reinterpret_cast<const SequenceRow*>(device),
          reinterpret_cast<const std::byte* const*>(device + row_bytes)};
}

void check_sequences(const char* what, int64_t n_rows, int64_t n_heads, const KvLayout& layout,
                     DType activations, int64_t layer, std::span<const KvSequence> sequences) {
  if (layout.dtype != activations) {
    throw BackendError(std::string(what) + ": the cache must have the dtype of the activations");
  }
  constexpr int64_t kMostHeadDim = 256;
  if (layout.head_dim > kMostHeadDim) {
    throw BackendError(std::string(what) + ": head_dim must be at most 256, found " +
                       std::to_string(layout.head_dim));
  }
  check_kv_sequences(what, n_rows, n_heads, layout, layer, sequences);
}

}  // namespace okapi::cuda
