// A dataset plugin, and a dataset opened from it.
//
//   auto dataset = host.dataset("lines")->open({{"n_lines", 20}}, /*seed=*/1, nullptr);
//   RecordData first = dataset->record(0);
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <okapi/plugin/dataset.h>

#include "runtime/plugin_host/loaded_plugin.h"
#include "runtime/plugin_host/records.h"

namespace okapi {

class Dataset;

class DatasetPlugin : public std::enable_shared_from_this<DatasetPlugin> {
 public:
  explicit DatasetPlugin(std::shared_ptr<const LoadedPlugin> plugin);

  const PluginIdentity& identity() const { return identity_; }
  const ParamSchema& parameters() const { return plugin_->metadata().parameters; }

  /// `params` is a JSON object of what was given. `tokenizer` may be null. Throws what the check of
  /// the parameters or the plugin says.
  std::shared_ptr<const Dataset> open(const Json& params, uint64_t seed,
                                      std::shared_ptr<const TokenizerFunctions> tokenizer) const;

 private:
  friend class Dataset;

  std::shared_ptr<const LoadedPlugin> plugin_;
  PluginIdentity identity_;
  okapi_dataset_v1 table_{};
};

class Dataset : public RecordSource {
 public:
  Dataset(std::shared_ptr<const DatasetPlugin> plugin, std::shared_ptr<const ParamValues> params,
          uint64_t seed, std::shared_ptr<const TokenizerFunctions> tokenizer);
  ~Dataset() override;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;

  const std::string& name() const override { return plugin_->identity().name; }
  int64_t count() const override { return count_; }
  RecordData record(int64_t index) const override;

  const PluginIdentity& identity() const { return plugin_->identity(); }
  const ParamValues& params() const { return *params_; }
  uint64_t seed() const { return seed_; }

  /// Plugin, parameters in force, seed, count.
  Json describe() const;

 private:
  std::unique_lock<std::mutex> lock() const;
  const std::string& component() const { return plugin_->parameters().owner(); }

  std::shared_ptr<const DatasetPlugin> plugin_;
  std::shared_ptr<const ParamValues> params_;
  uint64_t seed_;
  HostTable host_;
  void* instance_ = nullptr;
  int64_t count_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace okapi
