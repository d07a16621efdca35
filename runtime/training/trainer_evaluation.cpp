// The loss on held-out windows, by position.
#include <algorithm>
#include <span>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/training/trainer_state.h"

namespace okapi {

namespace {

/// Sums of losses by where in its window a token stands.
class LossByPosition {
 public:
  explicit LossByPosition(int64_t bucket_tokens) : bucket_tokens_(bucket_tokens) {}

  /// @param nll  nats [T] of the batch's targets; those of what is not learned are not looked at
  void add(const MicroBatch& micro, std::span<const float> nll) {
    size_t row = 0;
    for (const int64_t n : micro.lengths) {
      for (int64_t t = 0; t < n; ++t, ++row) {
        if (micro.targets[row] < 0) continue;
        const auto bucket = static_cast<size_t>((t + 1) / bucket_tokens_);
        if (bucket >= sums_.size()) {
          sums_.resize(bucket + 1);
          counts_.resize(bucket + 1);
        }
        sums_[bucket] += nll[row];
        ++counts_[bucket];
      }
    }
  }

  /// Fills in the buckets, their tokens and the mean loss of them all.
  void write_to(TrainingEvaluation& result) const {
    double sum = 0;
    for (size_t i = 0; i < sums_.size(); ++i) {
      if (counts_[i] == 0) continue;
      const auto first = static_cast<int64_t>(i) * bucket_tokens_;
      result.buckets.push_back({first, first + bucket_tokens_ - 1,
                                sums_[i] / static_cast<double>(counts_[i]), counts_[i]});
      sum += sums_[i];
      result.n_tokens += counts_[i];
    }
    if (result.n_tokens == 0) {
      throw Error(Code::failed_precondition, "evaluation: no token of its windows is learned")
          .in("training")
          .field("evaluation.data");
    }
    result.loss = sum / static_cast<double>(result.n_tokens);
  }

 private:
  int64_t bucket_tokens_;
  std::vector<double> sums_;
  std::vector<int64_t> counts_;
};

int64_t evaluated_windows(const EvaluationConfig& config, const WindowSource& source) {
  const int64_t n_there = source.count();
  if (n_there >= 0 && config.windows > 0) return std::min(n_there, config.windows);
  if (n_there >= 0) return n_there;
  if (config.windows > 0) return config.windows;
  throw bad_config("evaluation.windows", "must be given, as the data never end");
}

/// As many windows at once as a step's micro batch has tokens.
int64_t windows_at_once(const BatchConfig& batch, int64_t length, int64_t max_tokens) {
  const int64_t most = batch.micro > 0       ? batch.micro * length
                       : batch.sequences > 0 ? batch.sequences * length
                                             : batch.tokens;
  return std::max<int64_t>(1, most / std::max<int64_t>(1, max_tokens));
}

}  // namespace

// A run would stop at its first evaluation, or go to its end without one.
void TrainerState::check_evaluations() const {
  if (config.evaluation.every == 0) return;
  if (!data.evaluation) {
    throw bad_config("evaluation.every",
                     "there are no held-out windows: data.holdout keeps some, evaluation.data "
                     "gives others");
  }
  evaluated_windows(config.evaluation, *data.evaluation);
}

TrainingEvaluation TrainerState::run_evaluation() {
  if (!data.evaluation) {
    throw Error(Code::failed_precondition, "evaluation: there are no held-out windows")
        .in("training")
        .field("evaluation.data");
  }
  const WindowSource& source = *data.evaluation;
  const int64_t n_windows = evaluated_windows(config.evaluation, source);
  const int64_t n_at_once = windows_at_once(config.batch, length, source.max_tokens());

  RopeGeometry at = geometry(/*training=*/false);
  if (config.rope.length == 0) at.target_length = source.max_tokens();
  at.seed = config.seed;
  const std::shared_ptr<const Rope> rope = eval_rope();
  eval_rotation->use(rope, at);

  LossByPosition losses(config.evaluation.bucket);
  for (int64_t first = 0; first < n_windows; first += n_at_once) {
    const MicroBatch micro =
        read_windows(source, first, std::min(n_at_once, n_windows - first), base.config.vocab_size);
    std::vector<TrainingRotation::Row> rows;
    for (const int64_t n : micro.lengths) rows.push_back({n, at.seed});
    eval_rotation->prepare(rows, *stream);
    TrainingBatch pass;
    pass.ids = micro.ids;
    pass.targets = micro.targets;
    pass.sequences_of_group = eval_rotation->sequences_of_group();
    pass.group_of_layer = eval_rotation->group_of_layer();
    std::vector<float> nll(micro.ids.size());
    network->score(pass, nll, cancels());
    losses.add(micro, nll);
  }

  TrainingEvaluation result;
  result.step = step;
  result.rope = rope->canonical();
  losses.write_to(result);
  last_evaluation = result.loss;
  if (results) unsaved_evaluations.push_back(result);
  if (listener.on_evaluation) listener.on_evaluation(result);
  return result;
}

}  // namespace okapi
