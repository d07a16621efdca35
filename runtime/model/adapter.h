// A LoRA adapter in host memory: low-rank matrices beside projections, as peft's folders hold them.
// Hu et al. 2021, arXiv 2106.09685: W x + (alpha / r) B A x.
//
//   const Adapter adapter = Adapter::load("adapters/chat", model->config());
//   adapter.save("copy", "models/savanna-5m");
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/model/host_tensor.h"
#include "runtime/model/lora_targets.h"
#include "runtime/model/model_config.h"
#include "runtime/model/weights.h"

namespace okapi {

/// What holds for every module of an adapter.
struct AdapterShape {
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;               ///< of the modules' inputs, in training
  bool rank_stabilised = false;     ///< scale is alpha / sqrt(rank), peft's use_rslora
  std::vector<Projection> targets;  ///< ascending
  double scale() const;
};

struct AdapterModule {
  HostTensor a;  ///< [r, K] f32
  HostTensor b;  ///< [N, r] f32
};

/// Rows of `b` stand as the checkpoint's own weights do (its pair layout).
class Adapter {
 public:
  using Key = std::pair<int64_t, Projection>;  ///< layer and projection

  /// A peft folder: adapter_config.json and adapter_model.safetensors. Throws not_found, data_loss,
  /// invalid_argument when a tensor is missing, unknown or does not fit the model, unimplemented
  /// for kinds of adapters that would compute something else.
  static Adapter load(const std::filesystem::path& folder, const ModelConfig& config);

  /// As peft makes them: A uniform within 1 / sqrt(K) (Kaiming's with a = sqrt 5), B zero.
  static Adapter fresh(const ModelConfig& config, const AdapterShape& shape, uint64_t seed);

  /// Of given modules, each of which must fit the model.
  static Adapter of(const ModelConfig& config, const AdapterShape& shape,
                    std::map<Key, AdapterModule> modules);

  /// Writes adapter_config.json and adapter_model.safetensors, which peft reads.
  void save(const std::filesystem::path& folder, const std::string& base_model) const;

  const std::string& path() const { return path_; }  ///< it was loaded from; may be empty
  const AdapterShape& shape() const { return shape_; }
  void set_dropout(double dropout) { shape_.dropout = dropout; }  ///< changes no answer
  const std::map<Key, AdapterModule>& modules() const { return modules_; }
  std::map<Key, AdapterModule>& modules() { return modules_; }

  /// The module beside a projection; null: none.
  const AdapterModule* find(int64_t layer, Projection projection) const;

  uint64_t n_parameters() const;
  std::string sha256() const;  ///< of everything that decides what it computes
  Json describe() const;

 private:
  std::string path_;
  AdapterShape shape_;
  int64_t n_layers_ = 0;  ///< of the model
  std::map<Key, AdapterModule> modules_;
};

/// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": peft's name of `a` or `b`.
std::string adapter_tensor_name(const Adapter::Key& key, char matrix);

/// `source` with W + scale B A for the projections that the adapter has, computed in double and
/// rounded once to f32. The adapter must outlive it.
WeightSource merged_source(WeightSource source, const Adapter& adapter, const ModelConfig& config);

}  // namespace okapi
