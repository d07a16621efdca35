#include "runtime/generation/session.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/generation/advance.h"
#include "runtime/generation/completion.h"
#include "runtime/generation/declared_length.h"
#include "runtime/generation/session_state.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/transformer.h"

namespace okapi {

namespace {

/// Drops the last token's keys and values, so that the next call computes its output again: who
/// wants to know what follows the tokens held, and has no logits, feeds that token anew.
void unfeed_last_token(SessionState& state) {
  state.cache.truncate(std::min(state.cache.n_tokens(), state.n_tokens() - 1));
}

/// Sets the cancel token of one call for as long as it lasts.
class CallCancel {
 public:
  CallCancel(SessionState& state, const CancelToken* cancel) : state_(state) {
    state_.call_cancel = cancel;
  }
  CallCancel(const CallCancel&) = delete;
  CallCancel& operator=(const CallCancel&) = delete;
  ~CallCancel() { state_.call_cancel = nullptr; }

 private:
  SessionState& state_;
};

/// What generate() does of one session, between passes that may be of several.
class OneOutput {
 public:
  /// Changes nothing yet. `generation` is told what was generated, at the end or at roll_back().
  OneOutput(SessionState& state, const GenerateOptions& options, Generation& generation)
      : state_(state),
        generation_(generation),
        completion_(*state.model, options),
        call_cancel_(state, options.cancel) {}

  void begin(std::span<const int32_t> prompt) {
    const int64_t n_more = static_cast<int64_t>(prompt.size()) + completion_.options().max_tokens;
    state_.check_ids(prompt);
    state_.check_room(n_more);
    if (prompt.empty() && state_.n_tokens() == 0) {
      throw Error(Code::invalid_argument, "prompt: there is none, and no token is held")
          .in("generate")
          .field("prompt");
    }
    n_before_ = state_.n_tokens();
    n_cached_before_ = state_.cache.n_tokens();
    // Under a scheme that depends on length the cache may be computed again on the way, and then
    // only a copy knows what it was. It shares the pages, so it costs one page at most.
    if (state_.depends_on_length()) before_ = std::make_unique<SessionState>(state_.fork());
    has_begun_ = true;
    state_.expected_tokens = n_before_ + n_more;
    if (prompt.empty()) unfeed_last_token(state_);
    tokens_ = prompt;
  }

  bool has_ended() const { return completion_.has_ended(); }

  /// Good until the token is taken.
  Feed next_feed() {
    rule_ = completion_.next_rule();
    Feed feed{&state_, tokens_};
    feed.rule = &rule_;
    return feed;
  }

  void take(int32_t id) {
    if (completion_.take(id)) {
      tokens_ = {&completion_.ids().back(), 1};
      return;
    }
    generation_ = completion_.generation();
    state_.tokens.push_back(completion_.ids().back());
    state_.has_logits = false;
  }

  /// The cache as it was; what was generated stays told.
  void roll_back() {
    generation_ = completion_.generation();
    if (!has_begun_) return;
    if (before_) {
      state_ = std::move(*before_);
      return;
    }
    state_.tokens.resize(static_cast<size_t>(n_before_));
    state_.cache.truncate(std::min(n_cached_before_, state_.cache.n_tokens()));
    state_.has_logits = false;
  }

 private:
  SessionState& state_;
  Generation& generation_;
  Completion completion_;
  CallCancel call_cancel_;
  SampleRule rule_;
  std::span<const int32_t> tokens_;
  std::unique_ptr<SessionState> before_;
  int64_t n_before_ = 0;
  int64_t n_cached_before_ = 0;
  bool has_begun_ = false;
};

}  // namespace

Session::Session(std::unique_ptr<SessionState> state) : state_(std::move(state)) {}
Session::~Session() = default;

std::shared_ptr<Session> Session::create(std::shared_ptr<const Model> model,
                                         const SessionOptions& options) {
  auto state = std::make_unique<SessionState>(std::move(model), options);
  return std::shared_ptr<Session>(new Session(std::move(state)));
}

void Session::prefill(std::span<const int32_t> tokens, bool want_logits) {
  Feed feed{state_.get(), tokens};
  if (tokens.empty()) {
    throw Error(Code::invalid_argument, "tokens: at least one is needed")
        .in("session")
        .field("tokens");
  }
  advance({&feed, 1}, want_logits ? Outcome::logits : Outcome::none);
}

void Session::advance_batch(std::span<Session* const> sessions,
                            std::span<const std::span<const int32_t>> tokens, bool want_logits) {
  std::vector<Feed> feeds;
  for (size_t i = 0; i < sessions.size(); ++i) {
    if (tokens[i].empty()) {
      throw Error(Code::invalid_argument,
                  "n_tokens: session " + std::to_string(i) + " of the batch is given no token")
          .in("session")
          .field("n_tokens");
    }
    feeds.push_back({sessions[i]->state_.get(), tokens[i]});
  }
  okapi::advance(feeds, want_logits ? Outcome::logits : Outcome::none);
}

void Session::advance_batch(std::span<const SessionStep> steps) {
  std::vector<Feed> feeds;
  std::vector<SampleRule> rules(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    Feed feed{steps[i].session->state_.get(), steps[i].tokens};
    if (steps[i].completion != nullptr) {
      rules[i] = steps[i].completion->next_rule();
      feed.rule = &rules[i];
    }
    feeds.push_back(feed);
  }
  okapi::advance(feeds, Outcome::choices);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].completion != nullptr) steps[i].completion->take(feeds[i].chosen);
  }
}

std::span<const float> Session::logits() const {
  return state_->has_logits ? std::span<const float>(state_->logits) : std::span<const float>();
}

// Token i is predicted by the output of token i - 1, so the last token held is fed anew.
void Session::score(std::span<const int32_t> tokens, std::span<float> nll,
                    std::span<float> logits) {
  if (tokens.empty()) {
    throw Error(Code::invalid_argument, "tokens: at least one is needed")
        .in("session")
        .field("tokens");
  }
  SessionState& state = *state_;
  const int64_t n_before = state.n_tokens();
  const auto n = static_cast<int64_t>(tokens.size());
  const int64_t vocab_size = state.model->config().vocab_size;
  const Transformer& transformer = state.model->transformer();
  state.check_room(n);
  state.check_ids(tokens);
  if (n_before > 0) unfeed_last_token(state);
  if (!nll.empty() && n_before == 0) nll[0] = std::numeric_limits<float>::quiet_NaN();

  const auto sink = [&](Workspace& workspace, int64_t first, ConstTensorView hidden) {
    const int64_t n_rows = hidden.shape[0];
    if (!nll.empty()) {
      // Row r predicts token first + r + 1, where that is among the scored ones.
      std::vector<int32_t> targets(static_cast<size_t>(n_rows), -1);
      const int64_t begin = std::max<int64_t>(0, n_before - 1 - first);
      const int64_t end = std::min(n_rows, n_before + n - 1 - first);
      for (int64_t row = begin; row < end; ++row) {
        targets[static_cast<size_t>(row)] = tokens[static_cast<size_t>(first + row + 1 - n_before)];
      }
      if (begin < end) {
        const ConstTensorView losses = transformer.log_loss(workspace, hidden, targets);
        workspace.stream().download(nll.data() + (first + begin + 1 - n_before),
                                    static_cast<const float*>(losses.data) + begin,
                                    static_cast<size_t>(end - begin) * sizeof(float));
        workspace.stream().synchronize();  // before `targets` goes
      }
    }
    if (!logits.empty()) {
      // In blocks, so that the device never holds logits of a whole pass.
      constexpr int64_t kElementsAtOnce = int64_t{1} << 23;
      const int64_t rows_at_once = std::max<int64_t>(1, kElementsAtOnce / vocab_size);
      const size_t row_bytes = static_cast<size_t>(hidden.shape[1]) * size_of(hidden.dtype);
      for (int64_t row = std::max<int64_t>(0, n_before - first); row < n_rows;
           row += rows_at_once) {
        const int64_t n_block = std::min(rows_at_once, n_rows - row);
        const ConstTensorView block(
            static_cast<const std::byte*>(hidden.data) + static_cast<size_t>(row) * row_bytes,
            hidden.dtype, {n_block, hidden.shape[1]});
        const ConstTensorView out = transformer.logits(workspace, block);
        workspace.stream().download(logits.data() + (first + row - n_before) * vocab_size, out.data,
                                    static_cast<size_t>(n_block * vocab_size) * sizeof(float));
      }
    }
  };
  Feed feed{&state, tokens};
  advance({&feed, 1}, Outcome::logits, sink);
}

void Session::generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                       Generation* generation) {
  Session* const self = this;
  generate_batch({&self, 1}, {&prompt, 1}, options, {generation, 1});
}

void Session::generate_batch(std::span<Session* const> sessions,
                             std::span<const std::span<const int32_t>> prompts,
                             const GenerateOptions& options, std::span<Generation> generations) {
  for (Generation& generation : generations) generation = {};
  std::vector<std::unique_ptr<OneOutput>> outputs;
  try {
    for (size_t i = 0; i < sessions.size(); ++i) {
      outputs.push_back(std::make_unique<OneOutput>(*sessions[i]->state_, options, generations[i]));
      outputs.back()->begin(prompts[i]);
    }
    for (;;) {
      std::vector<Feed> feeds;
      std::vector<OneOutput*> fed;
      for (const std::unique_ptr<OneOutput>& output : outputs) {
        if (output->has_ended()) continue;
        feeds.push_back(output->next_feed());
        fed.push_back(output.get());
      }
      if (feeds.empty()) break;
      okapi::advance(feeds, Outcome::choices);
      for (size_t i = 0; i < feeds.size(); ++i) fed[i]->take(feeds[i].chosen);
    }
  } catch (...) {
    // The last first, as they were begun.
    while (!outputs.empty()) {
      outputs.back()->roll_back();
      outputs.pop_back();
    }
    throw;
  }
}

void Session::expect(int64_t n_more) { state_->expected_tokens = state_->n_tokens() + n_more; }

void Session::set_cancel(std::shared_ptr<const CancelToken> cancel) {
  state_->cancel = std::move(cancel);
}

int64_t Session::prefill_chunk() const { return state_->prefill_chunk(); }
int64_t Session::n_tokens() const { return state_->n_tokens(); }
std::span<const int32_t> Session::tokens() const { return state_->tokens; }

void Session::truncate(int64_t n_tokens) {
  if (n_tokens < 0 || n_tokens > state_->n_tokens()) {
    throw Error(Code::out_of_range, "n_tokens: " + std::to_string(n_tokens) + " is not in [0, " +
                                        std::to_string(state_->n_tokens()) + "], the tokens held")
        .in("session")
        .field("n_tokens");
  }
  state_->truncate(n_tokens);
}

std::shared_ptr<Session> Session::fork() const {
  auto state = std::make_unique<SessionState>(state_->fork());
  return std::shared_ptr<Session>(new Session(std::move(state)));
}

std::shared_ptr<Session> Session::fork_prefix(int64_t n, int64_t n_in_all) const {
  if (n < 1 || n > state_->cache.n_tokens()) {
    throw Error(Code::out_of_range, "n: " + std::to_string(n) + " is not in [1, " +
                                        std::to_string(state_->cache.n_tokens()) +
                                        "], the tokens computed")
        .in("session")
        .field("n");
  }
  auto state = std::make_unique<SessionState>(state_->fork());
  state->truncate(n);
  state->expected_tokens = n_in_all;
  // As a session of its own would declare it; one that is outgrown on the way has several lengths.
  const int64_t option = state->options.rope_length;
  const bool changes = option == kRopeLengthFollow || (option > 0 && n_in_all > option);
  if (changes && state->depends_on_length()) return nullptr;
  const int64_t length = okapi::declared_length(option, /*current=*/0, n, n_in_all);
  if (length != state->declared_length()) {
    std::shared_ptr<SequenceRotation> rotation = state->make_rotation(length);
    if (!rotation->gives_the_same_as(*state->rotation)) return nullptr;
    state->rotation = std::move(rotation);
  }
  return std::shared_ptr<Session>(new Session(std::move(state)));
}

const std::shared_ptr<const Model>& Session::model() const { return state_->model; }
const std::shared_ptr<const Rope>& Session::rope() const { return state_->rope; }
const SessionOptions& Session::options() const { return state_->options; }
int64_t Session::declared_length() const { return state_->declared_length(); }
uint64_t Session::cache_bytes() const { return state_->cache.bytes(); }

}  // namespace okapi
