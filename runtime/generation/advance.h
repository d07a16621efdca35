// Feeds tokens to sessions: the one place where the model is run. All or nothing: if anything
// fails, or a cancel token is requested, every session holds what it held before.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "runtime/generation/session_state.h"
#include "runtime/model/workspace.h"

namespace okapi {

struct Feed {
  SessionState* session = nullptr;
  std::span<const int32_t> tokens;  ///< new ones; may be empty if the session has one not yet fed
  /// How the device chooses the token that follows; null: nothing is chosen.
  const SampleRule* rule = nullptr;
  int32_t chosen = -1;  ///< by that rule, once advance() has returned; -1: no logit was finite
};

/// What becomes of the logits after a feed's last token. Choosing where they are computed spares
/// their way to the host.
enum class Outcome { none, logits, choices };

/// Hears the outputs of a feed's tokens as they are computed, in order: `hidden` [n, C] of the
/// tokens at `first` .. `first + n - 1` of the sequence, among those the cache did not have.
using OutputSink = std::function<void(Workspace& workspace, int64_t first, ConstTensorView hidden)>;

/// With Outcome::logits each session's logits afterwards predict what follows its last token; with
/// Outcome::choices feeds that have a rule have a token `chosen`. With `sink` there must be one
/// feed.
void advance(std::span<Feed> feeds, Outcome outcome, const OutputSink& sink = nullptr);

}  // namespace okapi
