#include "backends/cpu/attention_task.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "backends/cpu/checks.h"
#include "backends/cpu/kv_page.h"

namespace okapi::cpu {

namespace {

constexpr float kNothingYet = -1e30F;  // a maximum below every score; see kMasked in the kernel

/// The scratch of one thread, cut up.
struct TaskWorkspace {
  TaskWorkspace(float* memory, const AttentionSizes& sizes)
      : queries(memory),
        output(queries + sizes.d * sizes.padded_lanes),
        maximum(output + sizes.d * sizes.padded_lanes),
        sum(maximum + sizes.padded_lanes),
        probabilities(sum + sizes.padded_lanes),
        limits(reinterpret_cast<int32_t*>(probabilities + sizes.probability_floats())),
        raw_keys(probabilities + sizes.probability_floats() + sizes.width) {}

  float* queries;
  float* output;
  float* maximum;
  float* sum;
  float* probabilities;
  int32_t* limits;
  float* raw_keys;
};

/// Lanes [begin, begin + count) of the task; lane l is query l / group of the task, head l % group
/// of the kv head's group. Element i of a lane lies at i * element_stride + lane * lane_stride.
struct Block {
  int64_t begin;
  int64_t count;
  int64_t n_laid_out;  ///< lanes that have a place: what fills up a vector is zero
  AttentionForm form;
  int64_t element_stride;
  int64_t lane_stride;
};

/// The block from lane `begin` on, of a task of n_lanes.
Block block_at(int64_t n_lanes, int64_t begin, const AttentionSizes& sizes) {
  const auto width = static_cast<int64_t>(sizes.width);
  if (n_lanes <= kRowLanes) {
    return {begin, n_lanes, n_lanes, AttentionForm::rows, 1, static_cast<int64_t>(sizes.d)};
  }
  const int64_t count = std::min(width, n_lanes - begin);
  if (count > width / 2) return {begin, count, width, AttentionForm::vectors, width, 1};
  return {begin, count, width / 2, AttentionForm::half_vectors, width / 2, 1};
}

/// Where a lane of a task stands in the matrices of the call.
struct LanePlace {
  LanePlace(const AttentionCall& call, const AttentionTask& task, int64_t lane)
      : row(task.sequence->first_row + task.first_query + lane / call.group),
        head(task.kv_head * call.group + lane % call.group) {}

  int64_t row;
  int64_t head;
};

const float* query_of(const AttentionCall& call, const AttentionTask& task, int64_t lane) {
  const LanePlace at(call, task, lane);
  return call.qkv + at.row * call.qkv_stride + at.head * call.layout.head_dim;
}

float* output_of(const AttentionCall& call, const AttentionTask& task, int64_t lane) {
  const LanePlace at(call, task, lane);
  return call.out + at.row * call.out_stride + at.head * call.layout.head_dim;
}

/// Lays out one block of queries, scaled so that the softmax can use powers of two.
void pack_queries(const AttentionCall& call, const AttentionTask& task, const Block& block,
                  float* to) {
  const float scale = task.sequence->score_scale * std::numbers::log2e_v<float>;
  const int64_t d = call.layout.head_dim;
  for (int64_t lane = 0; lane < block.n_laid_out; ++lane) {
    float* const column = to + lane * block.lane_stride;
    if (lane < block.count) {
      const float* const q = query_of(call, task, block.begin + lane);
      for (int64_t i = 0; i < d; ++i) column[i * block.element_stride] = q[i] * scale;
    } else {
      for (int64_t i = 0; i < d; ++i) column[i * block.element_stride] = 0.0F;
    }
  }
}

/// The tile of keys from `begin` on: where they lie, cut at page borders, or rotated copies.
struct KeyTile {
  int64_t begin = 0;  ///< index within the sequence
  std::array<KeySegment, kTileKeys> segments;
  int n_segments = 0;
  int n_keys = 0;
};

void find_keys(const AttentionCall& call, const AttentionTask& task, int64_t begin, float* raw_keys,
               KeyTile* tile) {
  const KvSequence& sequence = *task.sequence;
  const int64_t d = call.layout.head_dim;
  const bool rotates = sequence.keys_are_raw && !sequence.key_rotation.empty();
  const int64_t end = std::min(begin + kTileKeys, task.key_end);
  tile->begin = begin;
  tile->n_segments = 0;
  tile->n_keys = static_cast<int>(end - begin);
  for (int64_t index = begin; index < end;) {
    const KvRun run = kv_run(call.layout, sequence, call.layer, task.kv_head, index);
    const int64_t n = std::min(run.n_tokens, end - index);
    const float* keys = run.keys;
    if (rotates) {
      float* const rotated = raw_keys + (index - begin) * d;
      const ConstTensorView& cosines = sequence.key_rotation.cos;
      const ConstTensorView& sines = sequence.key_rotation.sin;
      for (int64_t j = 0; j < n; ++j) {
        call.kernels.rotate(keys + j * d, rotated + j * d,
                            floats(cosines) + (index + j) * cosines.strides[0],
                            floats(sines) + (index + j) * sines.strides[0], 1, d, d, d);
      }
      keys = rotated;
    }
    tile->segments[static_cast<size_t>(tile->n_segments++)] = {keys, run.values,
                                                               static_cast<int>(n)};
    index += n;
  }
}

/// log(sum of exp(score)), from a maximum in units of log2 and the sum relative to it.
void write_log_sum(const AttentionCall& call, const AttentionTask& task, int64_t lane,
                   float maximum, float sum) {
  if (call.log_sums == nullptr) return;
  const LanePlace at(call, task, lane);
  call.log_sums[at.row * call.log_sums_stride + at.head] =
      (maximum + std::log2(sum)) * std::numbers::ln2_v<float>;
}

void write_out(const AttentionCall& call, const AttentionTask& task, const Block& block,
               const float* output, const float* maximum, const float* sum) {
  const int64_t d = call.layout.head_dim;
  for (int64_t lane = 0; lane < block.count; ++lane) {
    float* const to = output_of(call, task, block.begin + lane);
    const float* const column = output + lane * block.lane_stride;
    const float scale = 1.0F / sum[lane];
    for (int64_t i = 0; i < d; ++i) to[i] = column[i * block.element_stride] * scale;
    write_log_sum(call, task, block.begin + lane, maximum[lane], sum[lane]);
  }
}

/// One block of queries over one tile of keys, as far as each query sees it.
void attend(const AttentionCall& call, const AttentionTask& task, const Block& block,
            const KeyTile& keys, const TaskWorkspace& work) {
  const int64_t first_index = task.sequence->n_cached + task.first_query;  // of the task's queries
  const auto limit_of = [&](int64_t lane) {  // the last key of the tile that it sees
    return first_index + (block.begin + lane) / call.group - keys.begin;
  };
  const int64_t n_keys = std::min<int64_t>(keys.n_keys, limit_of(block.count - 1) + 1);
  if (n_keys <= 0) return;
  const int64_t n_unmasked = std::clamp<int64_t>(limit_of(0) + 1, 0, n_keys);
  if (n_unmasked < n_keys) {
    for (int64_t lane = 0; lane < block.n_laid_out; ++lane) {
      work.limits[lane] = static_cast<int32_t>(limit_of(std::min(lane, block.count - 1)));
    }
  }
  const int64_t d = call.layout.head_dim;
  call.kernels.attention_tile({.form = block.form,
                               .n_lanes = static_cast<int>(block.count),
                               .queries = work.queries + block.begin * d,
                               .output = work.output + block.begin * d,
                               .maximum = work.maximum + block.begin,
                               .sum = work.sum + block.begin,
                               .probabilities = work.probabilities,
                               .limits = work.limits,
                               .segments = keys.segments.data(),
                               .n_segments = keys.n_segments,
                               .n_keys = static_cast<int>(n_keys),
                               .n_unmasked = static_cast<int>(n_unmasked),
                               .head_dim = static_cast<int>(d)});
}

/// Where a part leaves its block: output, then maximum and sum. Float may be const.
template <typename Float>
struct PartSlot {
  PartSlot(Float* parts, const AttentionSizes& sizes, int64_t slot)
      : output(parts + sizes.part_floats() * static_cast<size_t>(slot)),
        maximum(output + sizes.block_floats()),
        sum(maximum + sizes.width) {}
  Float* output;
  Float* maximum;
  Float* sum;
};

}  // namespace

void run_task(const AttentionCall& call, const AttentionTask& task, const AttentionSizes& sizes,
              float* scratch, float* parts) {
  const auto d = static_cast<int64_t>(sizes.d);
  const auto width = static_cast<int64_t>(sizes.width);
  const int64_t n_lanes = task.n_queries * call.group;
  TaskWorkspace work(scratch, sizes);
  if (task.n_parts > 1) {  // one block, which stays where the merge will look for it
    const PartSlot slot(parts, sizes, task.slot);
    work.output = slot.output;
    work.maximum = slot.maximum;
    work.sum = slot.sum;
  }

  for (int64_t begin = 0; begin < n_lanes; begin += width) {
    const Block block = block_at(n_lanes, begin, sizes);
    pack_queries(call, task, block, work.queries + begin * d);
    std::fill_n(work.output + begin * d, block.n_laid_out * d, 0.0F);
    std::fill_n(work.maximum + begin, block.n_laid_out, kNothingYet);
    std::fill_n(work.sum + begin, block.n_laid_out, 0.0F);
  }

  KeyTile keys;
  for (int64_t key = task.key_begin; key < task.key_end; key += kTileKeys) {
    find_keys(call, task, key, work.raw_keys, &keys);
    for (int64_t begin = 0; begin < n_lanes; begin += width) {
      attend(call, task, block_at(n_lanes, begin, sizes), keys, work);
    }
  }

  if (task.n_parts > 1) return;
  for (int64_t begin = 0; begin < n_lanes; begin += width) {
    const Block block = block_at(n_lanes, begin, sizes);
    write_out(call, task, block, work.output + begin * d, work.maximum + begin, work.sum + begin);
  }
}

void merge_parts(const AttentionCall& call, const AttentionTask& first, const AttentionSizes& sizes,
                 const float* parts) {
  const int64_t d = call.layout.head_dim;
  const Block block = block_at(first.n_queries * call.group, 0, sizes);
  for (int64_t lane = 0; lane < block.count; ++lane) {
    float top = kNothingYet;
    for (int part = 0; part < first.n_parts; ++part) {
      top = std::max(top, PartSlot(parts, sizes, first.slot + part).maximum[lane]);
    }
    float* const to = output_of(call, first, lane);
    std::fill_n(to, d, 0.0F);
    float sum = 0.0F;
    for (int part = 0; part < first.n_parts; ++part) {
      const PartSlot slot(parts, sizes, first.slot + part);
      // A part none of whose keys the query sees has kNothingYet for its maximum: its weight is 0.
      const float weight = std::exp2(slot.maximum[lane] - top);
      sum += slot.sum[lane] * weight;
      const float* const column = slot.output + lane * block.lane_stride;
      for (int64_t i = 0; i < d; ++i) to[i] += column[i * block.element_stride] * weight;
    }
    const float scale = 1.0F / sum;
    for (int64_t i = 0; i < d; ++i) to[i] *= scale;
    write_log_sum(call, first, lane, top, sum);
  }
}

}  // namespace okapi::cpu
