// The weights and configuration of a Hugging Face folder, mapped and checked.
//
//   const Checkpoint checkpoint = Checkpoint::open("models/savanna-5m");
//   ConstTensorView embedding = checkpoint.tensor("model.embed_tokens.weight");
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/tensor_view.h"
#include "runtime/model/model_config.h"
#include "runtime/model/safetensors.h"

namespace okapi {

class Checkpoint {
 public:
  /// Reads the configuration and maps model.safetensors, or else the shards that
  /// model.safetensors.index.json names. Every tensor the architecture needs is then there with the
  /// configured shape, as f32, f16 or bf16, and no tensor is there that it does not know; an output
  /// projection beside tied embeddings must repeat them. Throws as read_model_config and
  /// SafetensorsFile::open do.
  static Checkpoint open(const std::filesystem::path& folder,
                         std::string_view config_file = "config.json");

  const ModelConfig& config() const { return config_; }
  const std::filesystem::path& folder() const { return folder_; }

  bool has(const std::string& name) const { return shard_of_.contains(name); }
  std::vector<std::string> names() const;  ///< sorted

  /// The mapped tensor; lives as long as this object (and the ones it is moved to).
  ConstTensorView tensor(const std::string& name) const;

  /// True if nothing is lost by keeping every matrix in bf16. An adapter that was merged in f32 can
  /// leave its matrices so among others in bf16.
  bool has_bf16_matrices() const;

  /// Of everything that decides what the model computes: the configuration file and the weights
  /// files. Reads all of them on the first call, and calls `between` (in bytes) every now and then,
  /// which may throw to stop it. Thread-safe.
  std::string sha256(const std::function<void(int64_t done, int64_t total)>& between = {}) const;

  /// The files mapped, for reports.
  std::vector<std::string> files() const;

 private:
  struct LazyHash;

  Checkpoint();

  void open_weights();
  void open_shards(const std::filesystem::path& index_path);
  size_t open_shard(const std::filesystem::path& index_path, const std::string& file_name,
                    const std::string& field, std::map<std::string, size_t>& opened);
  void check_tensors() const;
  void check_tied_output() const;

  std::filesystem::path folder_;
  std::filesystem::path weights_path_;  ///< the file, or the index: what messages name
  std::string config_sha256_;
  ModelConfig config_;
  std::vector<SafetensorsFile> shards_;  ///< in the order of their names
  std::map<std::string, size_t> shard_of_;
  std::shared_ptr<LazyHash> hash_;
};

}  // namespace okapi
