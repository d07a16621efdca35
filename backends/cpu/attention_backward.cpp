// The backward of causal attention, tile by tile (Dao 2023, arXiv:2307.08691): weights are computed
// again from the scores and the logarithms of the softmax's sums, so that memory grows with the
// number of tokens only.
//
// A task is a range of queries of one sequence and kv head, with all query heads of its group. It
// alone writes those queries' gradients. Those of the keys it sees are summed in a slot of its own;
// slots are added in the order of their ranges, so that the same thread limit gives the same bytes.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "backends/cpu/attention_training.h"
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"
#include "backends/cpu/training_sequence.h"

namespace okapi::cpu {

namespace {

/// So that threads which take tasks in turn finish together.
constexpr int64_t kTasksPerThread = 8;

struct Call {
  const Kernels& kernels;
  const HeadLayout& heads;
  GatheredKeys gathered;
  ConstTensorView qkv;
  ConstTensorView out;
  ConstTensorView log_sums;
  ConstTensorView out_gradient;
  TensorView qkv_gradient;
};

struct Task {
  const TrainingSequence* sequence;
  int64_t kv_head;
  int64_t query_begin;
  int64_t query_end;  ///< also the number of keys seen
  int64_t slot;       ///< floats before this task's: gradients of keys, then of values

  double work() const {
    return 0.5 * static_cast<double>(query_end - query_begin) *
           static_cast<double>(query_end + query_begin);
  }
};

/// Tasks by sequence, kv head and query, and the floats of all their slots.
std::vector<Task> make_tasks(const HeadLayout& heads, std::span<const TrainingSequence> sequences,
                             int n_threads, int64_t* slot_floats) {
  double total = 0;
  for (const TrainingSequence& sequence : sequences) {
    total += Task{&sequence, 0, 0, sequence.n_tokens, 0}.work();
  }
  total *= static_cast<double>(heads.n_kv_heads);
  const double share =
      n_threads > 1 ? total / static_cast<double>(kTasksPerThread * n_threads) : total;
  std::vector<Task> tasks;
  *slot_floats = 0;
  for (const TrainingSequence& sequence : sequences) {
    const int64_t n = sequence.n_tokens;
    const double work = Task{&sequence, 0, 0, n, 0}.work();
    const auto wanted = static_cast<int64_t>(std::ceil(work / share));
    const int64_t n_parts =
        std::clamp<int64_t>(wanted, 1, (n + kBackwardQueries - 1) / kBackwardQueries);
    // Work grows with the square of the queries' end: equal parts end at square roots.
    const auto end_of = [&](int64_t part) {
      if (part == n_parts) return n;
      const double end = static_cast<double>(n) *
                         std::sqrt(static_cast<double>(part) / static_cast<double>(n_parts));
      return std::min(n,
                      static_cast<int64_t>(std::lround(end / kBackwardQueries)) * kBackwardQueries);
    };
    for (int64_t kv_head = 0; kv_head < heads.n_kv_heads; ++kv_head) {
      for (int64_t part = 0; part < n_parts; ++part) {
        const Task task{&sequence, kv_head, end_of(part), end_of(part + 1), *slot_floats};
        if (task.query_begin >= task.query_end) continue;
        tasks.push_back(task);
        *slot_floats += 2 * task.query_end * heads.head_dim;
      }
    }
  }
  return tasks;
}

/// In an order in which threads that take them in turn finish together.
std::vector<const Task*> largest_first(const std::vector<Task>& tasks) {
  std::vector<const Task*> order;
  order.reserve(tasks.size());
  for (const Task& task : tasks) order.push_back(&task);
  std::stable_sort(order.begin(), order.end(),
                   [](const Task* a, const Task* b) { return a->work() > b->work(); });
  return order;
}

/// Where the tasks of each sequence and kv head begin, which share their keys; last their number.
std::vector<size_t> groups_by_keys(const std::vector<Task>& tasks) {
  std::vector<size_t> groups;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const bool is_first = t == 0 || tasks[t].sequence != tasks[t - 1].sequence ||
                          tasks[t].kv_head != tasks[t - 1].kv_head;
    if (is_first) groups.push_back(t);
  }
  groups.push_back(tasks.size());
  return groups;
}

/// The scratch of one thread, cut up.
struct BackwardWorkspace {
  static constexpr int64_t kRows = kBackwardQueries;
  static int64_t floats_for(int64_t d) { return 5 * kRows * d + 2 * kRows + 2 * kRows * kTileKeys; }

  BackwardWorkspace(float* memory, int64_t d)
      : queries(memory),
        packed_queries(queries + kRows * d),
        out_gradient(packed_queries + kRows * d),
        packed_out_gradient(out_gradient + kRows * d),
        packed_query_gradient(packed_out_gradient + kRows * d),
        log_sums(packed_query_gradient + kRows * d),
        deltas(log_sums + kRows),
        probabilities(deltas + kRows),
        score_gradients(probabilities + kRows * kTileKeys) {}

  float* queries;
  float* packed_queries;
  float* out_gradient;
  float* packed_out_gradient;
  float* packed_query_gradient;
  float* log_sums;
  float* deltas;
  float* probabilities;
  float* score_gradients;
};

/// [n_rows, D] to [n_rows / W, D, W].
void pack(const float* rows, int64_t n_rows, int64_t d, int64_t width, float scale, float* to) {
  for (int64_t block = 0; block < n_rows; block += width) {
    for (int64_t i = 0; i < d; ++i) {
      for (int64_t lane = 0; lane < width; ++lane) {
        to[block * d + i * width + lane] = rows[(block + lane) * d + i] * scale;
      }
    }
  }
}

/// Up to kBackwardQueries queries of one head from `query` on; returns the lanes they are laid out
/// in.
int64_t load_queries(const Call& call, const Task& task, int64_t head, int64_t query, int64_t n,
                     const BackwardWorkspace& work) {
  constexpr float kNoWeight = 1e30F;  // a log-sum that leaves no weight to any key
  const int64_t d = call.heads.head_dim;
  const int64_t width = call.kernels.attention_lanes;
  const int64_t n_lanes = (n + width - 1) / width * width;
  for (int64_t lane = 0; lane < n; ++lane) {
    const int64_t row = task.sequence->first_row + query + lane;
    const float* const gradient =
        floats(call.out_gradient) + row * call.out_gradient.strides[0] + head * d;
    std::copy_n(floats(call.qkv) + row * call.qkv.strides[0] + head * d, d,
                work.queries + lane * d);
    std::copy_n(gradient, d, work.out_gradient + lane * d);
    call.kernels.product_f32(floats(call.out) + row * call.out.strides[0] + head * d, d, 1,
                             gradient, 1, d, work.deltas + lane, 1);
    work.log_sums[lane] =
        floats(call.log_sums)[row * call.log_sums.strides[0] + head] * std::numbers::log2e_v<float>;
  }
  std::fill_n(work.queries + n * d, (n_lanes - n) * d, 0.0F);
  std::fill_n(work.out_gradient + n * d, (n_lanes - n) * d, 0.0F);
  std::fill_n(work.deltas + n, n_lanes - n, 0.0F);
  std::fill_n(work.log_sums + n, n_lanes - n, kNoWeight);
  pack(work.queries, n_lanes, d, width, task.sequence->score_scale * std::numbers::log2e_v<float>,
       work.packed_queries);
  pack(work.out_gradient, n_lanes, d, width, 1.0F, work.packed_out_gradient);
  std::fill_n(work.packed_query_gradient, n_lanes * d, 0.0F);
  return n_lanes;
}

void store_queries(const Call& call, const Task& task, int64_t head, int64_t query, int64_t n,
                   const BackwardWorkspace& work) {
  const int64_t d = call.heads.head_dim;
  const int64_t width = call.kernels.attention_lanes;
  for (int64_t lane = 0; lane < n; ++lane) {
    float* const to = floats(call.qkv_gradient) +
                      (task.sequence->first_row + query + lane) * call.qkv_gradient.strides[0] +
                      head * d;
    const float* const from = work.packed_query_gradient + lane / width * width * d + lane % width;
    for (int64_t i = 0; i < d; ++i) to[i] = from[i * width];
  }
}

void run_task(const Call& call, const Task& task, float* slots, float* memory) {
  const int64_t d = call.heads.head_dim;
  const int64_t group = call.heads.n_heads / call.heads.n_kv_heads;
  const int64_t n_rows = call.qkv.shape[0];
  const BackwardWorkspace work(memory, d);
  float* const key_gradient = slots + task.slot;
  float* const value_gradient = key_gradient + task.query_end * d;
  std::fill_n(key_gradient, 2 * task.query_end * d, 0.0F);
  const int64_t first_key = (task.kv_head * n_rows + task.sequence->first_row) * d;

  for (int64_t head = task.kv_head * group; head < (task.kv_head + 1) * group; ++head) {
    for (int64_t query = task.query_begin; query < task.query_end; query += kBackwardQueries) {
      const int64_t n = std::min<int64_t>(kBackwardQueries, task.query_end - query);
      const int64_t n_lanes = load_queries(call, task, head, query, n, work);
      for (int64_t key = 0; key < query + n; key += kTileKeys) {
        call.kernels.attention_backward_tile(
            {.packed_queries = work.packed_queries,
             .packed_out_gradient = work.packed_out_gradient,
             .queries = work.queries,
             .out_gradient = work.out_gradient,
             .log_sums = work.log_sums,
             .deltas = work.deltas,
             .keys = call.gathered.keys + first_key + key * d,
             .values = call.gathered.values + first_key + key * d,
             .packed_query_gradient = work.packed_query_gradient,
             .key_gradient = key_gradient + key * d,
             .value_gradient = value_gradient + key * d,
             .probabilities = work.probabilities,
             .score_gradients = work.score_gradients,
             .score_scale = task.sequence->score_scale,
             .n_blocks = static_cast<int>(n_lanes / call.kernels.attention_lanes),
             .n_keys = static_cast<int>(std::min<int64_t>(kTileKeys, query + n - key)),
             .head_dim = static_cast<int>(d),
             .diagonal = query - key});
      }
      store_queries(call, task, head, query, n, work);
    }
  }
}

/// Adds up the slots of the tasks [first, last), which share their keys; the last sees them all.
void merge(const Call& call, const Task* first, const Task* last, const float* slots) {
  const int64_t d = call.heads.head_dim;
  const int64_t key_column = (call.heads.n_heads + first->kv_head) * d;
  const int64_t value_column = key_column + call.heads.n_kv_heads * d;
  const int64_t n_keys = (last - 1)->query_end;
  for (int64_t key = 0; key < n_keys; ++key) {
    float* const row = floats(call.qkv_gradient) +
                       (first->sequence->first_row + key) * call.qkv_gradient.strides[0];
    const Task* task = first;
    while (key >= task->query_end) ++task;
    const float* slot = slots + task->slot + key * d;
    std::copy_n(slot, d, row + key_column);
    std::copy_n(slot + task->query_end * d, d, row + value_column);
    for (++task; task < last; ++task) {
      slot = slots + task->slot + key * d;
      call.kernels.add(row + key_column, slot, d);
      call.kernels.add(row + value_column, slot + task->query_end * d, d);
    }
  }
}

}  // namespace

void CpuStream::attention_backward(ConstTensorView qkv, const HeadLayout& heads,
                                   std::span<const TrainingSequence> sequences, ConstTensorView out,
                                   ConstTensorView log_sums, ConstTensorView out_gradient,
                                   TensorView qkv_gradient) {
  const int64_t n_rows = qkv.shape[0];
  const int64_t d = heads.head_dim;
  check_heads("attention_backward", heads);
  check_matrix(qkv, n_rows, heads.row_width(), "attention_backward: qkv");
  check_matrix(out, n_rows, heads.n_heads * d, "attention_backward: out");
  check_matrix(log_sums, n_rows, heads.n_heads, "attention_backward: log_sums");
  check_matrix(out_gradient, n_rows, heads.n_heads * d, "attention_backward: out_gradient");
  check_matrix(qkv_gradient, n_rows, heads.row_width(), "attention_backward: qkv_gradient");
  check_training_sequences("attention_backward", n_rows, heads, sequences);
  if (n_rows == 0) return;

  const ThreadLimit limit(shared_->n_threads);
  const Call call{
      shared_->kernels, heads,       gather_keys(qkv, heads, scratch_), qkv, out, log_sums,
      out_gradient,     qkv_gradient};
  int64_t slot_floats = 0;
  const std::vector<Task> tasks = make_tasks(heads, sequences, shared_->n_threads, &slot_floats);
  auto* const slots =
      scratch_.get<float>(ScratchUse::attention_parts, static_cast<size_t>(slot_floats));
  const int64_t workspace_floats = BackwardWorkspace::floats_for(d);
  auto* const workspaces = scratch_.get<float>(
      ScratchUse::attention, static_cast<size_t>(workspace_floats * shared_->n_threads));

  double work = 0;
  for (const Task& task : tasks) work += task.work() * static_cast<double>(d);
  const std::vector<const Task*> order = largest_first(tasks);
  parallel_tasks(static_cast<int64_t>(order.size()), static_cast<int64_t>(work), [&](int64_t t) {
    run_task(call, *order[static_cast<size_t>(t)], slots,
             workspaces + workspace_floats * omp_get_thread_num());
  });

  const std::vector<size_t> groups = groups_by_keys(tasks);
  parallel_tasks(static_cast<int64_t>(groups.size()) - 1, slot_floats, [&](int64_t g) {
    const auto group = static_cast<size_t>(g);
    merge(call, tasks.data() + groups[group], tasks.data() + groups[group + 1], slots);
  });
}

}  // namespace okapi::cpu
