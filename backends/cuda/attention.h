// Causal attention over the paged cache: what the kernels are told, and which there are.
//
// Queries that share a kv head are stacked, query by query and within a query head by head, into
// rows: row r of a sequence and kv head is query r / group, head kv_head * group + r % group.
#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/attention_parts.h"
#include "backends/cuda/kv_sequences.h"
#include "backends/cuda/queue.h"

namespace okapi::cuda {

struct AttentionInput {
  const void* queries;  ///< [T, ..], the query heads first in a row
  int64_t query_stride;
  void* out;
  int64_t out_stride;
  PageLayout layout;
  SequenceTable table;
  int32_t group;
  int32_t n_sequences;
  /// Keys at indices below n_cached were there before the pass began, and may be read before the
  /// kernel before this one has ended.
  int32_t reads_ahead;
  int32_t rotates;  ///< rows are as rotate_and_store finds them: the kernel does its work too
  float* log_sums;  ///< [T, H] of each row's sum of exp(score), of whole prompts; null: not wanted
  int64_t log_sums_stride;
};

/// Keys per part of a sequence by itself: so many that its blocks run on a large device all at once
/// (a second wave would leave part of it idle). It depends on the sequence and the model alone, so
/// that a result does not depend on what else is in the batch.
__host__ __device__ inline int part_keys(int n_keys, int n_kv_heads) {
  constexpr int kLeast = static_cast<int>(kLeastPartTiles) * kPartTile;
  constexpr int kWantedBlocks = 256;  // two for almost each of 132 multiprocessors
  const int64_t keys = (int64_t{n_keys} * n_kv_heads + kWantedBlocks - 1) / kWantedBlocks;
  const int whole = static_cast<int>((keys + kPartTile - 1) / kPartTile) * kPartTile;
  return whole < kLeast ? kLeast : whole;
}

/// What parts leave for the merge: an output [d] and (largest score, sum) in powers of two, of slot
/// ((sequence * n_kv_heads + kv_head) * n_parts + part) * n_rows + row.
struct AttentionParts {
  float* outputs = nullptr;
  float2* states = nullptr;
  uint32_t* arrivals = nullptr;  ///< per sequence, kv head and block of rows; 0 between calls
  int32_t n_parts = 1;           ///< per sequence; 1: kernels write the output themselves
  int32_t n_rows = 0;            ///< room for rows of a sequence and kv head
  int32_t n_keys = 0;            ///< per part, of every sequence; 0: what part_keys() says of each
  int32_t reserved = 0;          // no padding: launches are compared as bytes
};

/// Where a row's log sum goes; `largest` and `sum` are in powers of two.
__device__ inline void write_log_sum(const AttentionInput& input, int64_t token, int head,
                                     float largest, float sum) {
  constexpr float kLn2 = 0.693147181F;
  input.log_sums[token * input.log_sums_stride + head] = (largest + log2f(sum)) * kLn2;
}

/// bf16, head_dim a multiple of 8, whole prompts.
void launch_prefill_attention(Queue& queue, const AttentionInput& input, int64_t most_rows);
/// bf16, head_dim a multiple of 8, few queries per sequence.
void launch_few_attention(Queue& queue, const AttentionInput& input, const AttentionParts& parts,
                          int64_t most_rows, int n_processors);
/// Any even head_dim up to 256, f32 or bf16.
void launch_generic_attention(Queue& queue, const AttentionInput& input, DType dtype,
                              const AttentionParts& parts, int64_t most_rows);
void launch_attention_merge(Queue& queue, const AttentionInput& input, DType dtype,
                            const AttentionParts& parts);

}  // namespace okapi::cuda
