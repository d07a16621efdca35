#include "runtime/evaluation/sequence_batch.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "runtime/base/cancel.h"
#include "runtime/base/error.h"
#include "runtime/model/model.h"
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

std::shared_ptr<Session> SequenceBatch::new_session(const PreparedItem& prepared) const {
  SessionOptions options = options_;
  if (options.rope_length == kRopeLengthAuto && prepared.item.target_length > 0) {
    options.rope_length = prepared.item.target_length;
  }
  std::shared_ptr<Session> session = Session::create(model_, options);
  session->set_cancel(cancel_);
  session->expect(prepared.n_tokens_in_all());
  return session;
}

void SequenceBatch::admit(PreparedItem prepared) {
  Running running;
  running.began = Clock::now();
  running.session = new_session(prepared);
  if (prepared.item.kind == OKAPI_ITEM_SCORE) {
    running.losses = score_window(*running.session, prepared);
  } else {
    running.completion = std::make_unique<Completion>(*model_, generate_options(prepared.item));
    running.session->prefill(prepared.ids);
    running.completion->choose(running.session->logits());
  }
  running.prepared = std::move(prepared);
  running_.push_back(std::move(running));
}

std::vector<Answer> SequenceBatch::step() {
  std::vector<Running*> going;
  std::vector<Session*> sessions;
  std::vector<std::span<const int32_t>> tokens;
  for (Running& running : running_) {
    if (running.has_ended()) continue;
    going.push_back(&running);
    sessions.push_back(running.session.get());
    tokens.push_back(std::span(running.completion->ids()).last(1));
  }
  if (!going.empty()) {
    Session::advance_batch(sessions, tokens);
    for (Running* running : going) running->completion->choose(running->session->logits());
  }

  std::vector<Answer> answers;
  for (auto running = running_.begin(); running != running_.end();) {
    if (running->has_ended()) {
      answers.push_back(answer_of(*running));
      running = running_.erase(running);
    } else {
      ++running;
    }
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
    answer.output.text = model_->tokenizer()->decode(answer.output.ids);
  }
  answer.declared_length = options_.rope_length == kRopeLengthFollow
                               ? kRopeLengthFollow
                               : running.session->declared_length();
  answer.seconds = std::chrono::duration<double>(Clock::now() - running.began).count();
  answer.prepared = std::move(running.prepared);
  return answer;
}

}  // namespace okapi
