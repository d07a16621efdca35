// Several items being answered at once: each its own session, all advanced in one pass over the
// weights. Items are admitted and leave as they finish, so that the passes stay full: a pass
// decodes a token of every output that is being written and reads as much of the prompts as suits
// the backend, so no output waits for more than one chunk of a prompt.
//
// An item whose prompt begins as that of another one in the batch, or of one that has just left,
// reads on from there (Session::fork_prefix). It waits until that much of the other has been read.
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

  /// Takes an item in. A window to score is done with then; its answer comes with the next step().
  void admit(PreparedItem prepared);

  /// One pass; returns the items that have ended.
  std::vector<Answer> step();

  bool is_empty() const { return running_.empty(); }
  size_t size() const { return running_.size(); }
  /// Tokens that those in flight will hold in the end.
  int64_t n_tokens() const;

  int64_t n_prompt_tokens() const { return n_prompt_tokens_; }  ///< of all items admitted
  int64_t n_shared_tokens() const { return n_shared_tokens_; }  ///< of these: read for another item

 private:
  using Clock = std::chrono::steady_clock;

  struct Running {
    PreparedItem prepared;
    std::shared_ptr<Session> session;  ///< null: waits for `source`
    const Running* source = nullptr;   ///< has or will have the first n_shared tokens
    int64_t n_shared = 0;
    std::unique_ptr<Completion> completion;  ///< null: a window
    std::vector<double> losses;              ///< of a window
    Clock::time_point began;

    bool has_ended() const { return completion == nullptr || completion->has_ended(); }
    bool is_decoding() const { return completion != nullptr && !completion->ids().empty(); }
  };

  SessionOptions session_options(const PreparedItem& prepared) const;
  std::shared_ptr<Session> new_session(const PreparedItem& prepared) const;
  void find_source(Running& running) const;
  void begin_if_ready(Running& running);
  std::vector<SessionStep> next_steps();
  Answer answer_of(Running& running) const;

  std::shared_ptr<const Model> model_;
  SessionOptions options_;
  std::shared_ptr<const CancelToken> cancel_;
  std::list<Running> running_;
  std::list<Running> ended_;  ///< since the last admission: the next prompt may begin alike
  int64_t n_prompt_tokens_ = 0;
  int64_t n_shared_tokens_ = 0;
};

}  // namespace okapi
