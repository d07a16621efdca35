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
};

/// Hears the outputs of a feed's tokens as they are computed, in order: `hidden` [n, C] of the
/// tokens at `first` .. `first + n - 1` of the sequence, among those the cache did not have.
using OutputSink = std::function<void(Workspace& workspace, int64_t first, ConstTensorView hidden)>;

/// Afterwards each session's logits predict what follows its last token, if wanted. With `sink`
/// there must be one feed.
void advance(std::span<const Feed> feeds, bool want_logits, const OutputSink& sink = nullptr);

}  // namespace okapi
