#include "runtime/training/step_batch.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"

namespace okapi {

namespace {

Error bad_window(const TokenWindow& window, const std::string& problem) {
  return Error(Code::invalid_argument, "window " + window.identity + ": " + problem)
      .in("training")
      .field("data");
}

TokenWindow checked(TokenWindow window, int64_t vocab_size) {
  if (window.ids.size() < 2) throw bad_window(window, "wanted at least 2 tokens");
  if (window.learned.size() != window.ids.size()) {
    throw bad_window(window, "has " + std::to_string(window.ids.size()) + " tokens and " +
                                 std::to_string(window.learned.size()) + " marks of learning");
  }
  for (const int32_t id : window.ids) {
    if (id >= 0 && id < vocab_size) continue;
    throw bad_window(window, "token " + std::to_string(id) + " is not in [0, " +
                                 std::to_string(vocab_size) + "), the model's vocabulary");
  }
  return window;
}

/// Appends a window; returns how many of its tokens are learned.
int64_t append(const TokenWindow& window, MicroBatch& batch) {
  int64_t n_learned = 0;
  for (size_t t = 0; t + 1 < window.ids.size(); ++t) {
    const bool is_learned = window.learned[t + 1] != 0;
    batch.ids.push_back(window.ids[t]);
    batch.targets.push_back(is_learned ? window.ids[t + 1] : -1);
    n_learned += is_learned ? 1 : 0;
  }
  batch.lengths.push_back(static_cast<int64_t>(window.ids.size()) - 1);
  return n_learned;
}

}  // namespace

StepBatch read_step(const WindowSource& source, int64_t position, const BatchConfig& batch,
                    int64_t length, int64_t vocab_size) {
  StepBatch step;
  for (int64_t n = 0; batch.sequences == 0 || n < batch.sequences; ++n) {
    TokenWindow window = checked(source.window(position + n), vocab_size);
    const auto n_tokens = static_cast<int64_t>(window.ids.size());
    if (n_tokens > length) {
      throw bad_window(window, "has " + std::to_string(n_tokens) + " tokens, batch.length is " +
                                   std::to_string(length));
    }
    // By tokens: the window that would be too much is the first one of the next step.
    if (batch.tokens > 0 && n > 0 && step.n_tokens + n_tokens - 1 > batch.tokens) break;

    const bool is_full =
        step.micro.empty() ||
        (batch.micro > 0 && static_cast<int64_t>(step.micro.back().lengths.size()) == batch.micro);
    if (is_full) {
      step.micro.emplace_back();
      step.micro.back().first_window = n;
    }
    step.n_learned += append(window, step.micro.back());
    step.n_tokens += n_tokens - 1;
    step.identities.push_back(std::move(window.identity));
    ++step.n_windows;
  }
  if (step.n_learned == 0) {
    throw Error(
        Code::failed_precondition,
        "no token of the step's windows is learned; the first is " + step.identities.front())
        .in("training")
        .field("data");
  }
  const auto weight = static_cast<float>(1.0 / static_cast<double>(step.n_learned));
  for (MicroBatch& micro : step.micro) micro.weights.assign(micro.ids.size(), weight);
  return step;
}

MicroBatch read_windows(const WindowSource& source, int64_t position, int64_t n,
                        int64_t vocab_size) {
  MicroBatch batch;
  for (int64_t i = 0; i < n; ++i) {
    static_cast<void>(append(checked(source.window(position + i), vocab_size), batch));
  }
  batch.weights.assign(batch.ids.size(), 1.0F);
  return batch;
}

}  // namespace okapi
