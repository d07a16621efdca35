// What a session holds. Its parts (advance, generate, save) are functions over this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/cancel.h"
#include "runtime/generation/session.h"
#include "runtime/kv_cache/kv_cache.h"
#include "runtime/kv_cache/sequence_rotation.h"
#include "runtime/model/model.h"

namespace okapi {

class SessionState {
 public:
  SessionState(std::shared_ptr<const Model> model, SessionOptions options);

  /// The same tokens, sharing the cache's pages.
  SessionState fork() const;

  std::shared_ptr<const Model> model;
  SessionOptions options;  ///< rope and positions taken out: they are below
  std::shared_ptr<const Rope> rope;
  std::shared_ptr<const std::vector<double>> positions;  ///< given by the caller; null: none
  std::shared_ptr<const CancelToken> cancel;

  /// All tokens held. The cache has them all but, at times, the last one: a token that was chosen
  /// and not fed yet is fed with whatever comes next, for nothing if nothing does.
  std::vector<int32_t> tokens;
  KvCache cache;
  std::shared_ptr<SequenceRotation> rotation;  ///< null until tokens come
  int64_t expected_tokens = 0;                 ///< see declared_length.h

  std::vector<float> logits;        ///< [V]
  bool has_logits = false;          ///< they predict what follows `tokens`
  std::vector<float> spare_logits;  ///< memory for the next ones

  const CancelToken* call_cancel = nullptr;  ///< of the call in progress

  int64_t n_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t declared_length() const { return rotation ? rotation->declared_length() : 0; }

  /// Tokens computed at once: the option, or what suits the backend.
  int64_t prefill_chunk() const;

  /// Throws out_of_range unless `n_more` tokens fit, invalid_argument unless every id is one.
  void check_room(int64_t n_more) const;
  void check_ids(std::span<const int32_t> ids) const;

  /// The rotation for a declared length, and whether a cache under the present one can stay.
  std::shared_ptr<SequenceRotation> make_rotation(int64_t declared_length) const;
  bool depends_on_length() const;

  void truncate(int64_t n_tokens);
};

}  // namespace okapi
