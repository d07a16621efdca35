// One piece of an attention call, done by one thread.
#pragma once

#include <cstdint>
#include <span>

#include "backends/backend.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/memory.h"

namespace okapi::cpu {

struct AttentionCall {
  const Kernels& kernels;
  const KvLayout& layout;
  int64_t layer;
  int64_t group;  ///< query heads per kv head
  const float* qkv;
  int64_t qkv_stride;
  float* out;
  int64_t out_stride;
  float* log_sums = nullptr;  ///< [T, H], of each query's exp(score), if wanted
  int64_t log_sums_stride = 0;
};

/// Queries [first_query, + n_queries) of a sequence, all heads of one kv head's group, against the
/// keys [key_begin, key_end) as far as each query sees them.
struct AttentionTask {
  const KvSequence* sequence = nullptr;
  int64_t kv_head = 0;
  int64_t first_query = 0;
  int64_t n_queries = 0;
  int64_t key_begin = 0;
  int64_t key_end = 0;
  int n_parts = 1;  ///< more than one: results go to `slot`, to be merged
  int part = 0;
  int64_t slot = 0;  ///< consecutive for the parts of one
};

/// Sizes of the scratch arrays. Lanes come in blocks of `width`.
struct AttentionSizes {
  AttentionSizes(const Kernels& kernels, size_t n_lanes, size_t head_dim)
      : width(static_cast<size_t>(kernels.attention_lanes)),
        padded_lanes((n_lanes + width - 1) / width * width),
        d(head_dim) {}

  size_t width;
  size_t padded_lanes;
  size_t d;

  size_t block_floats() const { return d * width; }
  size_t probability_floats() const { return static_cast<size_t>(kTileKeys) * width; }
  size_t raw_key_floats() const { return static_cast<size_t>(kTileKeys) * d; }
  /// Of one thread: queries and output, maximum and sum, probabilities, limits, rotated keys.
  /// Rounded up so that two threads never write into one cache line.
  size_t floats() const {
    constexpr size_t kLineFloats = 16;
    const size_t n =
        2 * d * padded_lanes + 2 * padded_lanes + probability_floats() + width + raw_key_floats();
    return (n + kLineFloats - 1) / kLineFloats * kLineFloats;
  }
  /// One part: output of one block, maximum and sum.
  size_t part_floats() const { return block_floats() + 2 * width; }
};

void run_task(const AttentionCall& call, const AttentionTask& task, const AttentionSizes& sizes,
              float* scratch, float* parts);

/// The whole call, cut into tasks over the threads that the caller has allowed.
void run_attention(const AttentionCall& call, int n_threads, Scratch& scratch,
                   std::span<const KvSequence> sequences);

/// Merges the parts of which `first` is the first.
void merge_parts(const AttentionCall& call, const AttentionTask& first, const AttentionSizes& sizes,
                 const float* parts);

}  // namespace okapi::cpu
