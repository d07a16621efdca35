// Several items being answered at once: each its own session, all advanced in one pass over the
// weights. Items are admitted and leave as they finish, so that the passes stay full.
//
//   batch.admit(task->item(7));
//   while (!batch.is_empty()) for (Answer& answer : batch.step()) keep(answer);
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "runtime/evaluation/prompt.h"
#include "runtime/generation/completion.h"
#include "runtime/generation/session.h"

namespace okapi {

class CancelToken;

/// What a model made of an item.
struct Answer {
  PreparedItem prepared;
  TaskOutput output;
  std::string stop_reason;      ///< "length", "eos", "text", "id", "scored"
  int64_t declared_length = 0;  ///< the rope was evaluated at; kRopeLengthFollow: at every length
  double seconds = 0;
};

class SequenceBatch {
 public:
  /// @param options  of every session; under kRopeLengthAuto an item's target length goes first
  SequenceBatch(std::shared_ptr<const Model> model, SessionOptions options,
                std::shared_ptr<const CancelToken> cancel);

  /// Reads the prompt. A window to score is done with then; its answer comes with the next step().
  void admit(PreparedItem prepared);

  /// One token more for each that has not ended; returns those that have.
  std::vector<Answer> step();

  bool is_empty() const { return running_.empty(); }
  size_t size() const { return running_.size(); }
  /// Tokens that those in flight will hold in the end.
  int64_t n_tokens() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Running {
    PreparedItem prepared;
    std::shared_ptr<Session> session;
    std::unique_ptr<Completion> completion;  ///< null: a window
    std::vector<double> losses;              ///< of a window
    Clock::time_point began;

    bool has_ended() const { return completion == nullptr || completion->has_ended(); }
  };

  std::shared_ptr<Session> new_session(const PreparedItem& prepared) const;
  Answer answer_of(Running& running) const;

  std::shared_ptr<const Model> model_;
  SessionOptions options_;
  std::shared_ptr<const CancelToken> cancel_;
  std::list<Running> running_;
};

}  // namespace okapi
