#include "runtime/model/adapter.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/random.h"
#include "runtime/base/sha256.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"

namespace okapi {

double AdapterShape::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilised ? std::sqrt(r) : r);
}

std::string adapter_tensor_name(const Adapter::Key& key, char matrix) {
  return "base_model.model.model.layers." + std::to_string(key.first) + "." +
         projection_module(key.second) + ".lora_" + matrix + ".weight";
}

Adapter Adapter::fresh(const ModelConfig& config, const AdapterShape& shape, uint64_t seed) {
  Adapter adapter;
  adapter.shape_ = shape;
  adapter.n_layers_ = config.n_layers;
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const Projection projection : shape.targets) {
      const ProjectionShape matrix = projection_shape(config, projection);
      AdapterModule module;
      module.a = HostTensor(DType::f32, {shape.rank, matrix.columns});
      module.b = HostTensor(DType::f32, {matrix.rows, shape.rank});  // zeros

      const uint64_t stream =
          static_cast<uint64_t>(layer) * kNProjections + static_cast<uint64_t>(projection);
      Random random(seed, stream);
      const double bound = 1 / std::sqrt(static_cast<double>(matrix.columns));
      auto* values = static_cast<float*>(module.a.view().data);
      for (int64_t i = 0; i < shape.rank * matrix.columns; ++i) {
        values[i] = static_cast<float>((2 * random.uniform() - 1) * bound);
      }
      adapter.modules_.emplace(Key(layer, projection), std::move(module));
    }
  }
  return adapter;
}

Adapter Adapter::of(const ModelConfig& config, const AdapterShape& shape,
                    std::map<Key, AdapterModule> modules) {
  Adapter adapter;
  adapter.shape_ = shape;
  adapter.n_layers_ = config.n_layers;
  adapter.modules_ = std::move(modules);
  return adapter;
}

const AdapterModule* Adapter::find(int64_t layer, Projection projection) const {
  const auto found = modules_.find({layer, projection});
  return found == modules_.end() ? nullptr : &found->second;
}

uint64_t Adapter::n_parameters() const {
  uint64_t n = 0;
  for (const auto& [key, module] : modules_) {
    n += static_cast<uint64_t>(module.a.view().count() + module.b.view().count());
  }
  return n;
}

std::string Adapter::sha256() const {
  Sha256 hash;
  const double scale = shape_.scale();
  hash.update(&scale, sizeof scale);
  for (const auto& [key, module] : modules_) {
    for (const auto& [letter, tensor] : {std::pair('A', &module.a), std::pair('B', &module.b)}) {
      const ConstTensorView view = tensor->view();
      hash.update(adapter_tensor_name(key, letter));
      hash.update(view.data, static_cast<size_t>(view.count()) * sizeof(float));
    }
  }
  return hash.hex();
}

Json Adapter::describe() const {
  std::vector<std::string> targets;
  for (const Projection projection : shape_.targets) {
    targets.push_back(lora_target_names()[static_cast<size_t>(projection)]);
  }
  return {{"path", path_},
          {"rank", shape_.rank},
          {"alpha", shape_.alpha},
          {"dropout", shape_.dropout},
          {"scale", shape_.scale()},
          {"targets", targets},
          {"n_parameters", n_parameters()},
          {"sha256", sha256()}};
}

namespace {

HostTensor merged(ConstTensorView weight, const AdapterModule& module, double scale) {
  HostTensor result = converted(weight, DType::f32);
  const int64_t rank = module.a.view().shape[0];
  const int64_t n_columns = weight.shape[1];
  const auto* a = static_cast<const float*>(module.a.view().data);
  const auto* b = static_cast<const float*>(module.b.view().data);
  auto* out = static_cast<float*>(result.view().data);
  std::vector<double> row(static_cast<size_t>(n_columns));
  for (int64_t n = 0; n < weight.shape[0]; ++n) {
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t r = 0; r < rank; ++r) {
      const double factor = scale * b[n * rank + r];
      for (int64_t k = 0; k < n_columns; ++k) {
        row[static_cast<size_t>(k)] += factor * a[r * n_columns + k];
      }
    }
    for (int64_t k = 0; k < n_columns; ++k) {
      float& value = out[n * n_columns + k];
      value = static_cast<float>(value + row[static_cast<size_t>(k)]);
    }
  }
  return result;
}

}  // namespace

WeightSource merged_source(WeightSource source, const Adapter& adapter, const ModelConfig& config) {
  std::map<std::string, const AdapterModule*> by_name;
  for (const auto& [key, module] : adapter.modules()) {
    if (key.first < config.n_layers) {
      by_name[layer_tensor_name(key.first, projection_module(key.second))] = &module;
    }
  }
  return [source = std::move(source), by_name = std::move(by_name),
          scale = adapter.shape().scale()](const std::string& name) {
    LentTensor lent = source(name);
    const auto found = by_name.find(name);
    if (found == by_name.end()) return lent;
    LentTensor result;
    result.storage = merged(lent.view, *found->second, scale);
    result.view = std::as_const(result.storage).view();
    return result;
  };
}

}  // namespace okapi
