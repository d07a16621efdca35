// What makes two runs the same one: everything that decides a number, and nothing else.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/json.h"

namespace okapi {

class AdapterWeights;
class BoundTask;
class Model;
class Rope;

/// Model, adapter if there is one, tokenizer, rope with the hash of its tables, rule of the
/// declared length, task, plugins with the hashes of their files, backend, dtype, and whether it is
/// deterministic. The batch size is not part of it: what else is in a batch changes an answer by
/// rounding at most.
Json run_identity(const BoundTask& task, const Model& model, const Rope& rope, int64_t rope_length,
                  const AdapterWeights* adapter, bool deterministic);

/// The rule as reports write it: "prompt+output", "follow", or the number given.
Json rope_length_json(int64_t rope_length);

/// Of the tables of all layers at one declared length.
std::string table_sha256(const Model& model, const Rope& rope, int64_t declared_length);

}  // namespace okapi
