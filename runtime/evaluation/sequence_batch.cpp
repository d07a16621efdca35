#include "runtime/evaluation/sequence_batch.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "runtime/base/cancel.h"
#include "runtime/base/error.h"
#include "runtime/model/model.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::length:
      return "length";
    case StopReason::eos:
      return "eos";
    case StopReason::text:
      return "text";
    case StopReason::id:
      return "id";
    case StopReason::callback:
      return "callback";
    case StopReason::none:
      break;
  }
  return "none";
}

/// As a task is told: stop ids and texts are one to it.
int32_t task_stop_reason(StopReason reason) {
  switch (reason) {
    case StopReason::eos:
      return OKAPI_STOP_EOS;
    case StopReason::text:
    case StopReason::id:
      return OKAPI_STOP_TEXT;
    default:
      return OKAPI_STOP_LENGTH;
  }
}

/// Nats per scored token of a window. The first token of a sequence has no loss: nothing predicts
/// it.
std::vector<double> score_window(Session& session, const PreparedItem& prepared) {
  const auto n = static_cast<int64_t>(prepared.ids.size());
  const int64_t begin = std::max<int64_t>(1, prepared.item.scored_begin);
  const int64_t end = prepared.item.scored_end == 0 ? n : prepared.item.scored_end;
  if (begin >= end || end > n) {
    throw Error(Code::invalid_argument,
                "item " + prepared.item.key + ": tokens [" + std::to_string(begin) + ", " +
                    std::to_string(end) + ") are to be scored, the window has " + std::to_string(n))
        .in("evaluation")
        .field("scored_end");
  }
  std::vector<float> nll(prepared.ids.size());
  session.score(prepared.ids, nll, {});
  return {nll.begin() + begin, nll.begin() + end};
}

}  // namespace

SequenceBatch::SequenceBatch(std::shared_ptr<const Model> model, SessionOptions options,
                             std::shared_ptr<const CancelToken> cancel)
    : model_(std::move(model)), options_(std::move(options)), cancel_(std::move(cancel)) {}

SessionOptions SequenceBatch::session_options(const PreparedItem& prepared) const {
  SessionOptions options = options_;
  if (options.rope_length == kRopeLengthAuto && prepared.item.target_length > 0) {
    options.rope_length = prepared.item.target_length;
  }
  options.least_rope_length = prepared.least_rope_length;
  return options;
}

std::shared_ptr<Session> SequenceBatch::new_session(const PreparedItem& prepared) const {
  std::shared_ptr<Session> session = Session::create(model_, session_options(prepared));
  session->set_cancel(cancel_);
  session->expect(prepared.n_tokens_in_all());
  return session;
}

void SequenceBatch::admit(PreparedItem prepared) {
  Running running;
  running.began = Clock::now();
  n_prompt_tokens_ += static_cast<int64_t>(prepared.ids.size());
  running.prepared = std::move(prepared);
  if (running.prepared.item.kind == OKAPI_ITEM_SCORE) {
    running.session = new_session(running.prepared);
    running.losses = score_window(*running.session, running.prepared);
  } else {
    running.completion =
        std::make_unique<Completion>(*model_, generate_options(running.prepared.item));
    find_source(running);
    begin_if_ready(running);
  }
  running_.push_back(std::move(running));
  ended_.clear();
}

void SequenceBatch::find_source(Running& running) const {
  // Where a prompt is cut decides how sums round, and who else is there must not.
  if (options_.deterministic) return;
  const PreparedItem& prepared = running.prepared;
  const Rope& rope = options_.rope ? *options_.rope : *model_->rope();
  const bool depends_on_length = rope.depends_on_length() || rope.has_positions(false);
  const int64_t rope_length = session_options(prepared).rope_length;
  const int64_t page_tokens = model_->kv_layout().page_tokens;
  const auto look_at = [&](const Running& other) {
    if (other.completion == nullptr) return;
    if (session_options(other.prepared).rope_length != rope_length) return;
    // Declared at another length: other tables. fork_prefix() knows better, but only later.
    if (depends_on_length && rope_length == kRopeLengthAuto &&
        other.prepared.n_tokens_in_all() != prepared.n_tokens_in_all()) {
      return;
    }
    const auto& ids = other.prepared.ids;
    const auto first_difference =
        std::mismatch(ids.begin(), ids.end(), prepared.ids.begin(), prepared.ids.end()).first;
    // At least one token is read anew, for its output; whole pages, so that none is copied.
    const int64_t n_alike = std::min<int64_t>(first_difference - ids.begin(),
                                              static_cast<int64_t>(prepared.ids.size()) - 1);
    const int64_t n_shared = n_alike / page_tokens * page_tokens;
    if (n_shared <= running.n_shared) return;
    running.source = &other;
    running.n_shared = n_shared;
  };
  for (const Running& other : running_) look_at(other);
  for (const Running& other : ended_) look_at(other);
}

void SequenceBatch::begin_if_ready(Running& running) {
  if (running.session != nullptr) return;
  if (running.source != nullptr) {
    const Session* const source = running.source->session.get();
    if (source == nullptr || source->n_tokens() < running.n_shared) return;
    running.session = source->fork_prefix(running.n_shared, running.prepared.n_tokens_in_all());
    running.source = nullptr;
    if (running.session != nullptr) {
      running.session->set_cancel(cancel_);
      n_shared_tokens_ += running.n_shared;
    }
  }
  if (running.session == nullptr) running.session = new_session(running.prepared);
}

std::vector<SessionStep> SequenceBatch::next_steps() {
  std::vector<SessionStep> steps;
  int64_t room = 0;  // for tokens of prompts
  for (const Running& running : running_) {
    if (running.session != nullptr) room = std::max(room, running.session->prefill_chunk());
  }
  for (Running& running : running_) {
    if (running.has_ended() || running.session == nullptr) continue;
    Session& session = *running.session;
    if (running.is_decoding()) {
      steps.push_back(
          {&session, std::span(running.completion->ids()).last(1), running.completion.get()});
      continue;
    }
    const auto left = std::span<const int32_t>(running.prepared.ids)
                          .subspan(static_cast<size_t>(session.n_tokens()));
    // A length that is outgrown is declared anew by every call: such a prompt goes in one.
    const int64_t declared = session.options().rope_length;
    const bool goes_whole = declared == kRopeLengthFollow ||
                            (declared > 0 && running.prepared.n_tokens_in_all() > declared);
    const auto n_left = static_cast<int64_t>(left.size());
    const int64_t n_chunk = std::min(n_left, session.prefill_chunk());
    if (n_chunk > room) continue;
    room -= n_chunk;
    const int64_t n = goes_whole ? n_left : n_chunk;
    steps.push_back({&session, left.first(static_cast<size_t>(n)),
                     n == n_left ? running.completion.get() : nullptr});
  }
  return steps;
}

std::vector<Answer> SequenceBatch::step() {
  const std::vector<SessionStep> steps = next_steps();
  if (!steps.empty()) Session::advance_batch(steps);
  for (Running& running : running_) begin_if_ready(running);

  std::vector<Answer> answers;
  for (auto running = running_.begin(); running != running_.end();) {
    const auto next = std::next(running);
    if (running->has_ended()) {
      answers.push_back(answer_of(*running));
      ended_.splice(ended_.end(), running_, running);
    }
    running = next;
  }
  return answers;
}

int64_t SequenceBatch::n_tokens() const {
  int64_t n = 0;
  for (const Running& running : running_) n += running.prepared.n_tokens_in_all();
  return n;
}

Answer SequenceBatch::answer_of(Running& running) const {
  Answer answer;
  answer.output.n_prompt_tokens = static_cast<int64_t>(running.prepared.ids.size());
  if (running.completion == nullptr) {
    answer.stop_reason = "scored";
    answer.output.stop_reason = OKAPI_STOP_SCORED;
    answer.output.losses = std::move(running.losses);
  } else {
    answer.stop_reason = name_of(running.completion->stop_reason());
    answer.output.stop_reason = task_stop_reason(running.completion->stop_reason());
    answer.output.ids = running.completion->ids();
    answer.output.text = model_->tokenizer()->decode_output(answer.output.ids);
  }
  answer.declared_length = options_.rope_length == kRopeLengthFollow
                               ? kRopeLengthFollow
                               : running.session->declared_length();
  answer.seconds = std::chrono::duration<double>(Clock::now() - running.began).count();
  answer.prepared = running.prepared;  // kept there: the next prompt may begin alike
  return answer;
}

}  // namespace okapi
