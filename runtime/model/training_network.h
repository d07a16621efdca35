// The network as training sees it: weights that may change, where their gradients go, and low-rank
// branches beside them. Who owns the memory is the trainer's business.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "runtime/model/lora_targets.h"

namespace okapi {

/// A branch beside some output columns of a matrix: out += scale * (dropout(x) A^T) B^T.
struct LoraBranch {
  int64_t first_column = 0;     ///< of the matrix's output; q, k and v are parts of one
  ConstTensorView a;            ///< [r, K] f32
  ConstTensorView b;            ///< [n_columns, r] f32
  TensorView a_gradient;        ///< added to; empty: frozen
  TensorView b_gradient;        ///< added to; empty: frozen
  float scale = 1;              ///< alpha / r
  float dropout = 0;            ///< of the branch's input
  uint64_t dropout_stream = 0;  ///< tells this branch's draws from those of others
  int64_t rank() const { return a.shape[0]; }
  int64_t n_columns() const { return b.shape[0]; }
};

struct TrainedMatrix {
  const PreparedWeight* weight = nullptr;
  TensorView gradient;  ///< [N, K] f32, added to; empty: frozen
  std::vector<LoraBranch> branches;
};

struct TrainedNorm {
  ConstTensorView weight;  ///< [C] f32
  TensorView gradient;     ///< added to; empty: frozen
};

struct TrainedLayer {
  TrainedNorm input_norm;
  TrainedMatrix qkv;
  TrainedMatrix out;
  TrainedNorm attention_norm;
  TrainedMatrix gate_up;
  TrainedMatrix down;
};

struct TrainedNetwork {
  TrainedMatrix embedding;
  TrainedMatrix output;  ///< weight and gradient are the embedding's if tied
  std::vector<TrainedLayer> layers;
  TrainedNorm final_norm;
};

/// One of a layer's matrices, by its name.
TrainedMatrix& matrix_of(TrainedLayer& layer, LayerMatrix name);
const TrainedMatrix& matrix_of(const TrainedLayer& layer, LayerMatrix name);

/// Whether any weight of the layer changes.
bool is_trained(const TrainedLayer& layer);

/// The first layer whose backward pass anybody needs: 0 if the embedding is trained, n_layers if
/// only what follows the layers is.
int64_t first_trained_layer(const TrainedNetwork& network);

/// The widest sum of ranks beside one matrix, and whether any branch drops inputs: sizes of
/// scratch.
int64_t widest_branches(const TrainedNetwork& network);
bool has_dropout(const TrainedNetwork& network);

}  // namespace okapi
