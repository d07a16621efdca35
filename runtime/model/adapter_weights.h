// An adapter on a device, laid out for a model's passes: attached to sessions, merged into nothing.
//
//   auto adapter = AdapterWeights::attach(model, Adapter::load("adapters/chat", model->config()));
//   auto session = Session::create(model, {.adapter = adapter});
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/training.h"
#include "runtime/base/json.h"
#include "runtime/device/tensor.h"
#include "runtime/model/adapter.h"
#include "runtime/model/training_network.h"

namespace okapi {

class Model;
class Workspace;

/// Immutable: sessions on several threads may share one.
class AdapterWeights {
 public:
  /// Throws invalid_argument when the adapter does not fit the model, unimplemented when the
  /// backend lacks the products it takes.
  static std::shared_ptr<const AdapterWeights> attach(const std::shared_ptr<const Model>& model,
                                                      const Adapter& adapter);

  /// Adds to out [T, N] what the branches beside a matrix make of x [T, K].
  void add_branches(Workspace& workspace, int64_t layer, LayerMatrix matrix, ConstTensorView x,
                    TensorView out) const;

  /// It as it was attached, read back from the device; knows no folder.
  Adapter download() const;

  const std::shared_ptr<const Model>& model() const { return model_; }
  const std::string& sha256() const { return sha256_; }
  uint64_t bytes() const;
  Json describe() const { return description_; }

 private:
  AdapterWeights() = default;

  std::shared_ptr<const Model> model_;
  AdapterShape shape_;
  std::string sha256_;
  Json description_;
  std::vector<Adapter::Key> keys_;
  std::vector<std::unique_ptr<Tensor>> tensors_;  ///< A and B of each key in turn
  /// [n_layers][LayerMatrix]
  std::vector<std::array<std::vector<LoraBranch>, kNLayerMatrices>> layers_;
};

}  // namespace okapi
