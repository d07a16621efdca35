#include "runtime/generation/session_state.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/rotary/rope.h"

namespace okapi {

namespace {

Error bad_session_option(const char* field, const std::string& message) {
  return Error(Code::invalid_argument, std::string(field) + ": " + message)
      .in("session")
      .field(field);
}

void check_options(const SessionOptions& options) {
  if (options.rope_length < kRopeLengthFollow) {
    throw bad_session_option("rope_length",
                             "must be a number of tokens, 0 (auto) or -1 (follow), not " +
                                 std::to_string(options.rope_length));
  }
  if (options.context_length < 0) {
    throw bad_session_option(
        "context_length", "must not be negative, and is " + std::to_string(options.context_length));
  }
  if (options.prefill_chunk < 0) {
    throw bad_session_option(
        "prefill_chunk", "must not be negative, and is " + std::to_string(options.prefill_chunk));
  }
  for (size_t i = 0; i < options.positions.size(); ++i) {
    if (!std::isfinite(options.positions[i])) {
      throw bad_session_option("positions",
                               "must be finite; number " + std::to_string(i) + " is not");
    }
  }
}

void check_rope_fits(const RopeGeometry& rope, const RopeGeometry& model) {
  const auto check = [](const char* what, int64_t found, int64_t wanted) {
    if (found != wanted) {
      throw bad_session_option("rope", "was read against " + std::string(what) + " " +
                                           std::to_string(found) + "; the model has " +
                                           std::to_string(wanted));
    }
  };
  check("head_dim", rope.head_dim, model.head_dim);
  check("rotary_dim", rope.rotary_dim, model.rotary_dim);
}

}  // namespace

SessionState::SessionState(std::shared_ptr<const Model> model_of_session,
                           SessionOptions session_options)
    : model(std::move(model_of_session)),
      options(std::move(session_options)),
      rope(options.rope ? options.rope : model->rope()),
      cache(model->page_pool()) {
  check_options(options);
  check_rope_fits(rope->model_geometry(), model->rope_geometry());
  if (options.adapter && options.adapter->model() != model) {
    throw bad_session_option("adapter", "was attached to another model");
  }
  if (!options.positions.empty()) {
    positions = std::make_shared<const std::vector<double>>(std::move(options.positions));
    options.positions.clear();
  }
  options.rope = nullptr;
}

SessionState SessionState::fork() const {
  SessionState copy(*this);
  if (rotation) copy.rotation = rotation->fork();
  copy.call_cancel = nullptr;
  return copy;
}

void SessionState::check_room(int64_t n_more) const {
  const int64_t n_after = n_tokens() + n_more;
  const auto check = [&](const char* field, int64_t most) {
    if (n_after <= most) return;
    throw Error(Code::out_of_range, std::string(field) + ": " + std::to_string(n_after) +
                                        " tokens do not fit, there is room for " +
                                        std::to_string(most) + " and " +
                                        std::to_string(n_tokens()) + " are held")
        .in("session")
        .field(field);
  };
  if (options.context_length > 0) check("context_length", options.context_length);
  if (positions) check("positions", static_cast<int64_t>(positions->size()));
}

void SessionState::check_ids(std::span<const int32_t> ids) const {
  const int64_t vocab_size = model->config().vocab_size;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    throw Error(Code::invalid_argument, "tokens: number " + std::to_string(i) + " is " +
                                            std::to_string(ids[i]) + ", not in [0, " +
                                            std::to_string(vocab_size) + ")")
        .in("session")
        .field("tokens");
  }
}

int64_t SessionState::prefill_chunk() const {
  return options.prefill_chunk > 0 ? options.prefill_chunk
                                   : model->context()->backend()->prefill_chunk();
}

bool SessionState::depends_on_length() const {
  return rope->depends_on_length() || (!positions && rope->has_positions(/*training=*/false));
}

std::shared_ptr<SequenceRotation> SessionState::make_rotation(int64_t declared_length) const {
  RotationSpec spec;
  spec.backend = model->context()->backend();
  spec.shared = &model->rotations();
  spec.rope = rope;
  spec.geometry = model->rope_geometry();
  spec.geometry.target_length = declared_length;
  spec.geometry.seed = options.seed;
  spec.n_layers = model->config().n_layers;
  spec.raw_keys = options.raw_keys;
  spec.positions = positions;
  return std::make_shared<SequenceRotation>(std::move(spec));
}

void SessionState::truncate(int64_t n_kept) {
  if (n_kept == n_tokens()) return;
  tokens.resize(static_cast<size_t>(n_kept));
  cache.truncate(std::min(cache.n_tokens(), n_kept));
  has_logits = false;
  expected_tokens = 0;
  if (n_kept == 0) rotation = nullptr;  // as if new: the next tokens declare a length afresh
}

}  // namespace okapi
