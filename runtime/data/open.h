// Training data as a configuration describes it: the section `data` of <okapi/trainer.h>, which has
// its keys.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "runtime/base/cancel.h"
#include "runtime/base/json.h"
#include "runtime/data/window_source.h"

namespace okapi {

class PluginHost;
class Tokenizer;

/// Called while the records of a dataset are made into tokens: how many are done, of how many.
using DataProgress = std::function<void(int64_t done, int64_t total)>;

struct DataOptions {
  DataProgress progress;                ///< may be empty
  const CancelToken* cancel = nullptr;  ///< may be null
  int n_threads = 1;                    ///< that make records into tokens; changes nothing else
  std::string file;                     ///< where the configuration is from, for messages
  std::string path;                     ///< its key within that, "data"; "": it is the whole
};

struct WindowSources {
  std::shared_ptr<const WindowSource> training;
  /// What was held out, always in the same order; null without `holdout`.
  std::shared_ptr<const WindowSource> validation;
};

/// Opens what `config` describes. A dataset that ends is made into tokens here, which takes a while
/// where it is large; an endless one while its windows are read. The same configuration, tokenizer
/// and seed give the same windows. Throws invalid_argument naming the key; what datasets throw.
WindowSources open_window_sources(const Json& config, std::shared_ptr<const Tokenizer> tokenizer,
                                  const PluginHost& host, uint64_t seed,
                                  const DataOptions& options = {});

/// The training windows alone.
std::shared_ptr<const WindowSource> open_window_source(const Json& config,
                                                       std::shared_ptr<const Tokenizer> tokenizer,
                                                       const PluginHost& host, uint64_t seed,
                                                       const DataOptions& options = {});

/// Makes the records of a dataset into tokens and writes them to a file, for `tokens` above.
/// `config` has dataset, params, seed, bos, eos, system and, for conversations, length: of longer
/// ones the pieces are made here. Datasets that never end are refused. What stood under `path`
/// stays until the new file is whole. Memory: 28 bytes a document.
void prepare_tokens(const Json& config, std::shared_ptr<const Tokenizer> tokenizer,
                    const PluginHost& host, uint64_t seed, const std::filesystem::path& path,
                    const DataOptions& options = {});

}  // namespace okapi
