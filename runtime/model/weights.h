// The weights of a Llama on a device, laid out for the transformer: q, k and v as one matrix, gate
// and up as one, and tied embeddings once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "runtime/base/cancel.h"
#include "runtime/device/tensor.h"
#include "runtime/model/host_tensor.h"
#include "runtime/model/model_config.h"

namespace okapi {

struct LayerWeights {
  Tensor input_norm;                        ///< [C] f32
  std::unique_ptr<PreparedWeight> qkv;      ///< [(H + 2K) D, C]
  std::unique_ptr<PreparedWeight> out;      ///< [C, H D]
  Tensor attention_norm;                    ///< [C] f32, of what the feed-forward part reads
  std::unique_ptr<PreparedWeight> gate_up;  ///< [2F, C]
  std::unique_ptr<PreparedWeight> down;     ///< [C, F]
};

struct Weights {
  std::shared_ptr<const PreparedWeight> embedding;  ///< [V, C]
  std::shared_ptr<const PreparedWeight> output;     ///< [V, C]; `embedding` itself if tied
  std::vector<LayerWeights> layers;
  Tensor final_norm;         ///< [C] f32
  DType dtype = DType::f32;  ///< of the matrices
  uint64_t n_parameters = 0;
  uint64_t bytes = 0;
};

/// Lends the tensors of a model by name, each for as long as `storage` lives.
struct LentTensor {
  ConstTensorView view;
  HostTensor storage;  ///< empty if the view points elsewhere
};
using WeightSource = std::function<LentTensor(const std::string& name)>;

struct WeightOptions {
  DType dtype = DType::f32;                         ///< of the matrices: f32 or bf16
  PairLayout pair_layout = PairLayout::half_split;  ///< how pairs lie in the source's q and k
  std::function<void(int64_t bytes_done, int64_t bytes_total)> progress;
  const CancelToken* cancel = nullptr;
};

/// Brings every tensor of `config` to the device. The source must have them all, with the right
/// shapes, in f32, f16 or bf16.
std::unique_ptr<const Weights> prepare_weights(const std::shared_ptr<Backend>& backend,
                                               const ModelConfig& config,
                                               const WeightSource& source,
                                               const WeightOptions& options);

}  // namespace okapi
