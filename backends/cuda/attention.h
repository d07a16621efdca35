// Causal attention over the paged cache: what the kernels are told, and which there are.
//
// Queries that share a kv head are stacked, query by query and within a query head by head, into
// rows: row r of a sequence and kv head is query r / group, head kv_head * group + r % group.
#pragma once

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
};

/// Keys per part where few queries meet many keys. Parts begin at fixed indices, so that a result
/// does not depend on what else is in the batch.
constexpr int kPartKeys = 256;

/// What parts leave for the merge: an output [d] and (largest score, sum) in powers of two, of slot
/// ((sequence * n_kv_heads + kv_head) * n_parts + part) * n_rows + row.
struct AttentionParts {
  float* outputs;
  float2* states;
  int32_t n_parts;  ///< per sequence; 1: kernels write the output themselves
  int32_t n_rows;   ///< room for rows of a sequence and kv head
};

/// bf16, head_dim a multiple of 8, whole prompts.
void launch_prefill_attention(Queue& queue, const AttentionInput& input, int64_t most_rows);
/// bf16, head_dim a multiple of 8, few queries per sequence.
void launch_few_attention(Queue& queue, const AttentionInput& input, const AttentionParts& parts,
                          int64_t most_rows);
/// Any even head_dim up to 256, f32 or bf16.
void launch_generic_attention(Queue& queue, const AttentionInput& input, DType dtype,
                              const AttentionParts& parts, int64_t most_rows);
void launch_attention_merge(Queue& queue, const AttentionInput& input, DType dtype,
                            const AttentionParts& parts);

}  // namespace okapi::cuda
