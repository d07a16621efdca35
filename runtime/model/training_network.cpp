#include "runtime/model/training_network.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"

namespace okapi {

namespace {

bool is_trained(const TrainedMatrix& matrix) {
  return !matrix.gradient.empty() ||
         std::any_of(matrix.branches.begin(), matrix.branches.end(), [](const LoraBranch& branch) {
           return !branch.a_gradient.empty() || !branch.b_gradient.empty();
         });
}

template <typename Visit>
void for_each_matrix(const TrainedNetwork& network, Visit&& visit) {
  for (const TrainedLayer& layer : network.layers) {
    for (const TrainedMatrix* matrix : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) {
      visit(*matrix);
    }
  }
}

}  // namespace

const TrainedMatrix& matrix_of(const TrainedLayer& layer, LayerMatrix name) {
  switch (name) {
    case LayerMatrix::qkv:
      return layer.qkv;
    case LayerMatrix::out:
      return layer.out;
    case LayerMatrix::gate_up:
      return layer.gate_up;
    case LayerMatrix::down:
      return layer.down;
  }
  throw Error(Code::internal, "a layer has no such matrix");
}

TrainedMatrix& matrix_of(TrainedLayer& layer, LayerMatrix name) {
  return const_cast<TrainedMatrix&>(matrix_of(std::as_const(layer), name));
}

bool is_trained(const TrainedLayer& layer) {
  return !layer.input_norm.gradient.empty() || !layer.attention_norm.gradient.empty() ||
         is_trained(layer.qkv) || is_trained(layer.out) || is_trained(layer.gate_up) ||
         is_trained(layer.down);
}

int64_t first_trained_layer(const TrainedNetwork& network) {
  // A tied embedding's gradient has a part from the input, which goes through every layer.
  if (!network.embedding.gradient.empty()) return 0;
  const auto first = std::find_if(network.layers.begin(), network.layers.end(),
                                  [](const TrainedLayer& layer) { return is_trained(layer); });
  return first - network.layers.begin();
}

int64_t widest_branches(const TrainedNetwork& network) {
  int64_t widest = 0;
  for_each_matrix(network, [&widest](const TrainedMatrix& matrix) {
    int64_t width = 0;
    for (const LoraBranch& branch : matrix.branches) width += branch.rank();
    widest = std::max(widest, width);
  });
  return widest;
}

bool has_dropout(const TrainedNetwork& network) {
  bool any = false;
  for_each_matrix(network, [&any](const TrainedMatrix& matrix) {
    for (const LoraBranch& branch : matrix.branches) any = any || branch.dropout > 0;
  });
  return any;
}

}  // namespace okapi
