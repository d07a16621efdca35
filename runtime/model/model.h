// Immutable weights on one device with their configuration and tokenizer. Loaded once, a model
// serves any number of sessions, each under a rope of its own.
//
//   auto model = Model::load(context, "models/savanna-5m");
//   auto session = Session::create(model, {});
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/cancel.h"
#include "runtime/base/json.h"
#include "runtime/model/model_config.h"
#include "runtime/runtime_context.h"

namespace okapi {

class PagePool;
class Rope;
class RotationCache;
class Tokenizer;
class Transformer;
class WorkspacePool;
struct RopeGeometry;
struct Weights;

struct ModelOptions {
  std::optional<DType>
      dtype;  ///< of the matrices in memory, f32 or bf16; none: bf16 if all are in the file
  std::optional<PairLayout> pair_layout;  ///< reads the weights as if their pairs lay so
  bool without_tokenizer = false;
  std::string config_file = "config.json";
  std::string tokenizer_file;  ///< of a random model; "": none
  std::function<void(int64_t bytes_done, int64_t bytes_total)> progress;
  const CancelToken* cancel = nullptr;  ///< borrowed for the call
};

class Model : public std::enable_shared_from_this<Model> {
 public:
  /// A Hugging Face folder. Throws not_found, data_loss, invalid_argument, unimplemented, each
  /// naming file and field; cancelled.
  static std::shared_ptr<Model> load(std::shared_ptr<RuntimeContext> context,
                                     const std::filesystem::path& folder,
                                     const ModelOptions& options = {});

  /// Random weights of the shape a config.json text describes: normal with deviation
  /// `initializer_range`, norms 1. The same seed gives the same weights on every machine. Throws
  /// invalid_argument, too, on a tokenizer that does not fit.
  static std::shared_ptr<Model> random(std::shared_ptr<RuntimeContext> context,
                                       std::string_view config_json, uint64_t seed,
                                       const ModelOptions& options = {});
  ~Model();

  const std::string& path() const { return path_; }  ///< "" for random weights
  const ModelConfig& config() const { return config_; }
  const std::shared_ptr<RuntimeContext>& context() const { return context_; }
  std::shared_ptr<const Tokenizer> tokenizer() const { return tokenizer_; }  ///< null: none
  const Weights& weights() const { return *weights_; }
  const Transformer& transformer() const { return *transformer_; }

  DType dtype() const;  ///< of the matrices in memory
  PairLayout pair_layout() const { return pair_layout_; }
  uint64_t n_parameters() const;
  uint64_t weight_bytes() const;
  const KvLayout& kv_layout() const { return kv_layout_; }
  uint64_t kv_bytes_per_token() const;

  /// What ropes for this model are read against; target length is the trained one.
  RopeGeometry rope_geometry() const;
  /// The rope of the checkpoint's own configuration.
  const std::shared_ptr<const Rope>& rope() const { return rope_; }
  /// A spec read against this model; "" is rope().
  std::shared_ptr<const Rope> parse_rope(std::string_view spec) const;

  /// Of the weights and the configuration; computed when first asked for.
  std::string sha256() const;
  Json describe() const;

  /// What sessions of this model share.
  const std::shared_ptr<PagePool>& page_pool() const { return page_pool_; }
  WorkspacePool& workspaces() const { return *workspaces_; }
  RotationCache& rotations() const { return *rotations_; }

 private:
  Model() = default;
  void finish(std::unique_ptr<const Weights> weights);

  std::shared_ptr<RuntimeContext> context_;
  ModelConfig config_;
  std::string path_;
  PairLayout pair_layout_ = PairLayout::half_split;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<const Weights> weights_;
  std::unique_ptr<const Transformer> transformer_;
  KvLayout kv_layout_;
  std::shared_ptr<const Rope> rope_;
  std::shared_ptr<PagePool> page_pool_;
  std::unique_ptr<WorkspacePool> workspaces_;
  std::unique_ptr<RotationCache> rotations_;

  std::function<std::string()> hash_;
  mutable std::mutex hash_mutex_;
  mutable std::string sha256_;
};

}  // namespace okapi
