// The forward pass of a Llama, as a list of backend operations over a ragged batch of sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "runtime/base/cancel.h"
#include "runtime/model/model_config.h"
#include "runtime/model/weights.h"
#include "runtime/model/workspace.h"

namespace okapi {

class AdapterWeights;

/// T tokens of several sequences, one after another, and where each sequence stands.
struct ForwardBatch {
  std::span<const int32_t> ids;  ///< [T]

  /// How attention sees the sequences. Layers whose rotation differs have different ones: layer l
  /// uses sequences_of_group[group_of_layer[l]]. They differ in rotation and score scale only.
  std::span<const std::vector<KvSequence>> sequences_of_group;
  std::span<const int32_t> group_of_layer;  ///< [n_layers]

  /// Rows of the T whose outputs somebody reads, ascending; the last layer computes no others.
  std::span<const int64_t> wanted_rows;

  /// Low-rank branches beside the matrices; null: none. The workspace must have branches then.
  const AdapterWeights* adapter = nullptr;
};

/// Stateless: safe from several threads, each with its own workspace.
class Transformer {
 public:
  Transformer(const ModelConfig& config, const Weights& weights, const KvLayout& layout)
      : config_(config), weights_(weights), layout_(layout) {}

  /// Stores keys and values of all T tokens, and returns the normed output of the wanted rows
  /// [n_wanted, C], which lies in the workspace until the next call. Throws cancelled between two
  /// layers; the caller then forgets what was stored.
  ConstTensorView forward(Workspace& workspace, const ForwardBatch& batch,
                          std::span<const CancelToken* const> cancels) const;

  /// Logits [n, V] f32 of rows of forward()'s result, in the workspace.
  ConstTensorView logits(Workspace& workspace, ConstTensorView hidden) const;

  /// nll [n] f32 of rows of forward()'s result, in the workspace; a target of -1 gives 0.
  ConstTensorView log_loss(Workspace& workspace, ConstTensorView hidden,
                           std::span<const int32_t> targets) const;

 private:
  const ModelConfig& config_;
  const Weights& weights_;
  const KvLayout& layout_;
};

}  // namespace okapi
