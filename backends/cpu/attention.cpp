// Causal attention over the paged cache, tile by tile with an online softmax (Dao et al. 2022,
// arXiv:2205.14135): no matrix of scores exists beyond one tile, and tiles above the diagonal are
// never visited.
//
// The queries that share a kv head are stacked into the lanes of vectors, query by query and within
// a query head by head, so that they share every key that is read and the diagonal cuts through few
// lanes. The work is cut into tasks: some queries of one sequence and kv head against all their
// keys, or, when there are few queries and many keys (decoding), against a part of them; parts are
// merged afterwards. Tiles and parts start at fixed key indices, so that neither the chunks a
// prompt came in nor the number of threads changes a result.
#include "backends/cpu/attention_task.h"

#include <algorithm>
#include <vector>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kv_page.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

/// Keys per part. A multiple of the tile; long enough that merging costs nothing beside it.
constexpr int64_t kPartKeys = 512;

/// Enough lanes to reuse a tile of keys many times from the cache, few enough to stay there with
/// it.
constexpr int64_t kLanesPerTask = 128;

int64_t queries_per_task(int64_t group) { return std::max<int64_t>(1, kLanesPerTask / group); }

/// Tasks with the most work first, so that the threads finish together.
std::vector<AttentionTask> make_tasks(const AttentionCall& call,
                                      std::span<const KvSequence> sequences, int64_t* n_parts) {
  std::vector<AttentionTask> tasks;
  *n_parts = 0;
  const int64_t step = queries_per_task(call.group);
  for (const KvSequence& sequence : sequences) {
    const bool few_queries = sequence.n_tokens * call.group <= call.kernels.attention_lanes;
    for (int64_t query = 0; query < sequence.n_tokens; query += step) {
      AttentionTask task{.sequence = &sequence, .first_query = query};
      task.n_queries = std::min(step, sequence.n_tokens - query);
      task.key_end = sequence.n_cached + query + task.n_queries;
      for (task.kv_head = 0; task.kv_head < call.layout.n_kv_heads; ++task.kv_head) {
        if (!few_queries || task.key_end <= kPartKeys) {
          tasks.push_back(task);
          continue;
        }
        AttentionTask part = task;
        part.n_parts = static_cast<int>((task.key_end + kPartKeys - 1) / kPartKeys);
        for (part.part = 0; part.part < part.n_parts; ++part.part) {
          part.key_begin = part.part * kPartKeys;
          part.key_end = std::min(task.key_end, part.key_begin + kPartKeys);
          part.slot = (*n_parts)++;
          tasks.push_back(part);
        }
      }
    }
  }
  std::stable_sort(tasks.begin(), tasks.end(), [](const AttentionTask& a, const AttentionTask& b) {
    return a.n_queries * (a.key_end - a.key_begin) > b.n_queries * (b.key_end - b.key_begin);
  });
  return tasks;
}

}  // namespace

void run_attention(const AttentionCall& call, int n_allowed, Scratch& scratch,
                   std::span<const KvSequence> sequences) {
  const int64_t d = call.layout.head_dim;
  int64_t n_parts = 0;
  const std::vector<AttentionTask> tasks = make_tasks(call, sequences, &n_parts);
  int64_t work = 0;
  for (const AttentionTask& task : tasks) {
    work += task.n_queries * call.group * (task.key_end - task.key_begin) * d;
  }

  const size_t lanes =
      static_cast<size_t>(std::max(queries_per_task(call.group) * call.group, int64_t{1}));
  const AttentionSizes sizes(call.kernels, lanes, static_cast<size_t>(d));
  const int n_threads = work < kWorthThreads ? 1 : n_allowed;
  auto* const workspaces =
      scratch.get<float>(ScratchUse::attention, sizes.floats() * static_cast<size_t>(n_threads));
  auto* const parts = scratch.get<float>(ScratchUse::attention_parts,
                                         sizes.part_floats() * static_cast<size_t>(n_parts));
  const auto n_tasks = static_cast<int64_t>(tasks.size());

#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads) if (n_threads > 1)
  for (int64_t t = 0; t < n_tasks; ++t) {
    run_task(call, tasks[static_cast<size_t>(t)], sizes,
             workspaces + sizes.floats() * static_cast<size_t>(omp_get_thread_num()), parts);
  }
  for (const AttentionTask& task : tasks) {
    if (task.n_parts > 1 && task.part == 0) merge_parts(call, task, sizes, parts);
  }
}

void CpuStream::attention(ConstTensorView qkv, int64_t n_heads, const KvLayout& layout,
                          int64_t layer, std::span<const KvSequence> sequences, TensorView out) {
  const int64_t d = layout.head_dim;
  check_matrix(qkv, qkv.shape[0], (n_heads + 2 * layout.n_kv_heads) * d, "attention: qkv");
  check_matrix(out, qkv.shape[0], n_heads * d, "attention: out");
  check_sequences("attention", qkv.shape[0], n_heads, layout, layer, sequences);

  const ThreadLimit limit(shared_->n_threads);
  const AttentionCall call{
      shared_->kernels, layout,         layer,       n_heads / layout.n_kv_heads,
      floats(qkv),      qkv.strides[0], floats(out), out.strides[0]};
  run_attention(call, shared_->n_threads, scratch_, sequences);
}

}  // namespace okapi::cpu
