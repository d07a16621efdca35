// What a session says about itself, for reports.
#include "runtime/generation/session.h"
#include "runtime/generation/session_state.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/model.h"
#include "runtime/model/rotary/rope.h"

namespace okapi {

Json Session::describe() const {
  const SessionState& state = *state_;
  RopeGeometry geometry = state.model->rope_geometry();
  geometry.seed = state.options.seed;
  if (state.rotation) geometry.target_length = state.declared_length();

  Json json = {
      {"rope", state.rope->json_at(geometry)},
      {"declared_length", nullptr},
      {"table_sha256", nullptr},
      {"keys_are_raw", state.options.raw_keys || state.rope->has_magnitudes()},
      {"context_length", state.options.context_length},
      {"prefill_chunk", state.prefill_chunk()},
      {"seed", state.options.seed},
      {"deterministic", state.options.deterministic},
      {"n_tokens", state.n_tokens()},
      {"cache_bytes", cache_bytes()},
      {"adapter", state.options.adapter ? state.options.adapter->describe() : Json(nullptr)},
  };
  switch (state.options.rope_length) {
    case kRopeLengthAuto:
      json["rope_length"] = "auto";
      break;
    case kRopeLengthFollow:
      json["rope_length"] = "follow";
      break;
    default:
      json["rope_length"] = state.options.rope_length;
  }
  if (state.rotation) {
    json["declared_length"] = state.declared_length();
    json["table_sha256"] = state.rotation->table_sha256();
  }
  if (state.positions) {
    json["positions"] = "given";
  } else {
    json["positions"] = state.rope->has_positions(false) ? "drawn" : "counted";
  }
  return json;
}

}  // namespace okapi
