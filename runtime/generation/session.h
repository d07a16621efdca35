// One sequence being read and written: a KV cache under one rope.
//
// The law: prefill in any chunks, then decode, gives the same logits as one pass over the whole
// sequence at the same declared length, to rounding, under every scheme.
//
//   auto session = Session::create(model, {.rope = model->parse_rope("yarn:scale=4")});
//   session->prefill(prompt);
//   session->decode(next);
//   std::span<const float> logits = session->logits();
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/generation/generate_options.h"

namespace okapi {

class AdapterWeights;
class CancelToken;
class Completion;
class Model;
class Rope;
class Session;
class SessionState;

inline constexpr int64_t kRopeLengthAuto = 0;
inline constexpr int64_t kRopeLengthFollow = -1;

struct SessionOptions {
  std::shared_ptr<const Rope> rope;       ///< null: what the model's configuration says
  int64_t rope_length = kRopeLengthAuto;  ///< declared length in tokens, see declared_length.h
  int64_t least_rope_length = 0;          ///< under follow: the scheme is evaluated at no less
  int64_t context_length = 0;             ///< most tokens the session may hold; 0: as memory allows
  int64_t prefill_chunk = 0;              ///< tokens computed at once; 0: what suits the backend
  bool raw_keys = false;                  ///< cache keys unrotated, rotate them as they are read
  std::vector<double> positions;          ///< of token i, instead of i or of what the scheme says
  uint64_t seed = 0;                      ///< for schemes that draw positions
  /// The same to the bit whatever sessions advance in the same pass. Passes are then smaller.
  bool deterministic = false;
  std::shared_ptr<const AdapterWeights> adapter;  ///< beside the model's weights; null: none
};

/// What one session is given in a pass of several.
struct SessionStep {
  Session* session = nullptr;
  std::span<const int32_t> tokens;
  Completion* completion = nullptr;  ///< chooses what follows; null: more of the prompt will
};

/// Not for two threads at once; sessions of one model may run in parallel. After a call that threw,
/// cancelled ones included, the session holds what it held before.
class Session {
 public:
  /// Throws invalid_argument on options out of range or a rope read against another geometry.
  static std::shared_ptr<Session> create(std::shared_ptr<const Model> model,
                                         const SessionOptions& options);
  ~Session();

  /// Feeds at least one token; logits() then predicts what follows, if wanted.
  void prefill(std::span<const int32_t> tokens, bool want_logits = true);
  void decode(int32_t token, bool want_logits = true) { prefill({&token, 1}, want_logits); }

  /// Advances several different sessions of one model in one pass over the weights, sessions[i] by
  /// tokens[i]. Each gets, to rounding, what it would get alone.
  static void advance_batch(std::span<Session* const> sessions,
                            std::span<const std::span<const int32_t>> tokens,
                            bool want_logits = true);

  /// The same, and each completion takes the token that follows; logits() are then empty.
  static void advance_batch(std::span<const SessionStep> steps);

  /// Tokens of a prompt that one pass takes.
  int64_t prefill_chunk() const;

  /// [V] for the next token, of the last call that fed tokens; empty when there was none or the
  /// tokens have been changed otherwise since. Valid until the next call.
  std::span<const float> logits() const;

  /// Feeds tokens and tells how well each was predicted. `nll` [n] in nats, NaN for the first token
  /// of a sequence, or empty; `logits` [n, V], row i predicting the token after i, or empty.
  void score(std::span<const int32_t> tokens, std::span<float> nll, std::span<float> logits);

  /// Feeds a prompt, then chooses tokens until a stop rule holds; the output counts as fed. Fills
  /// `generation` as it goes, so that a cancelled call leaves there what it had.
  void generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                Generation* generation);

  /// The same for several different sessions of one model, with passes in common: each generates,
  /// to rounding, what it would alone. After an error every cache is as it was.
  static void generate_batch(std::span<Session* const> sessions,
                             std::span<const std::span<const int32_t>> prompts,
                             const GenerateOptions& options, std::span<Generation> generations);

  /// Declares that `n_more` tokens will follow those held, prompt and output together: under
  /// kRopeLengthAuto a scheme that depends on length is then evaluated for them all at once.
  /// generate() does so by itself; a scheduler that batches with advance_batch() calls this first.
  void expect(int64_t n_more);

  /// Lets calls be stopped; null takes it away. Held by the session.
  void set_cancel(std::shared_ptr<const CancelToken> cancel);

  int64_t n_tokens() const;
  std::span<const int32_t> tokens() const;  ///< valid until the next call
  void truncate(int64_t n_tokens);          ///< throws out_of_range if there are fewer

  /// The same tokens; cache pages are shared until one of the two writes to them.
  std::shared_ptr<Session> fork() const;

  /// The first `n` tokens, of those computed, for a sequence that will hold `n_in_all`. Null where
  /// that one is rotated by other tables, under another declared length: nothing computed here
  /// would be good there.
  std::shared_ptr<Session> fork_prefix(int64_t n, int64_t n_in_all) const;

  void save(const std::filesystem::path& path);
  /// Throws failed_precondition, naming both sides, if the file was made with another model or with
  /// another version of a scheme's plugin; not_found if the plugin is missing.
  /// `adapter` is what the session had when it was saved.
  static std::shared_ptr<Session> restore(std::shared_ptr<const Model> model,
                                          const std::filesystem::path& path,
                                          std::shared_ptr<const AdapterWeights> adapter = nullptr);

  const std::shared_ptr<const Model>& model() const;
  const std::shared_ptr<const Rope>& rope() const;
  const SessionOptions& options() const;
  int64_t declared_length() const;  ///< in force; 0 before the first tokens
  uint64_t cache_bytes() const;
  Json describe() const;

 private:
  explicit Session(std::unique_ptr<SessionState> state);

  std::unique_ptr<SessionState> state_;
};

}  // namespace okapi
