#include "runtime/evaluation/run_identity.h"

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/evaluation/bound_task.h"
#include "runtime/generation/session.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/model.h"
#include "runtime/model/rotary/rope_table.h"
#include "runtime/runtime_context.h"

namespace okapi {

namespace {

/// Of the rope's tables where it may be used. One that depends on the length is looked at from the
/// trained length up to 64 times that: a scheme registered in process has no file to hash.
std::string fingerprint(const Model& model, const Rope& rope) {
  const int64_t trained = model.rope_geometry().trained_length;
  if (!rope.depends_on_length()) return table_sha256(model, rope, trained);
  Sha256 hash;
  for (int64_t times = 1; times <= 64; times *= 2) {
    try {
      hash.update(table_sha256(model, rope, trained * times));
    } catch (const Error& refusal) {
      hash.update(refusal.message());  // a scheme may know that it does not reach so far
    }
  }
  return hash.hex();
}

Json rope_plugins(const Rope& rope) {
  Json plugins = Json::array();
  const Json described = rope.json();
  for (const Json& scheme : described.at("schemes")) {
    plugins.push_back(
        {{"id", scheme["id"]}, {"version", scheme["version"]}, {"sha256", scheme["sha256"]}});
  }
  return plugins;
}

}  // namespace

Json rope_length_json(int64_t rope_length) {
  if (rope_length == kRopeLengthAuto) return "prompt+output";
  if (rope_length == kRopeLengthFollow) return "follow";
  return rope_length;
}

std::string table_sha256(const Model& model, const Rope& rope, int64_t declared_length) {
  RopeGeometry geometry = model.rope_geometry();
  geometry.target_length = declared_length;
  return RopeTables::evaluate(rope, geometry, model.config().n_layers).sha256();
}

Json run_identity(const BoundTask& task, const Model& model, const Rope& rope, int64_t rope_length,
                  const AdapterWeights* adapter, bool deterministic) {
  const Json described = model.describe();
  Json identity = {{"model_sha256", model.sha256()},
                   {"dtype", described["dtype"]},
                   {"pair_layout", described["pair_layout"]},
                   {"backend", model.context()->backend()->name()},
                   {"rope", rope.canonical()},
                   {"rope_length", rope_length_json(rope_length)},
                   {"rope_tables_sha256", fingerprint(model, rope)},
                   {"rope_plugins", rope_plugins(rope)},
                   {"task", task.identity()}};
  // Absent without, so that runs stored before there was either are still found.
  if (adapter != nullptr) identity["adapter_sha256"] = adapter->sha256();
  if (deterministic) identity["deterministic"] = true;
  return identity;
}

}  // namespace okapi
