// Training data as a configuration describes it.
//
//   {"dataset": "jsonl", "params": {"path": "corpus/", "min_characters": 20481},
//    "length": 4096, "overlap": 2048, "bos": "none", "holdout": 5000, "holdout_windows": 3000}
//
//   {"mixture": [{"weight": 0.85, "dataset": "lines", "params": {"training": true,
//                 "style": "compact", "length": 512}},
//                {"weight": 0.15, "dataset": "text", "params": {"path": "prose.txt.gz"}}],
//    "length": 512, "holdout": 64}
//
// One of these keys says where the windows come from:
//
//   dataset   name of a dataset plugin. `params` are its parameters, `seed` its seed (default: the
//             trainer's).
//   tokens    a file that `okapi data prepare` wrote.
//   mixture   array of objects with these same keys and `weight` (above 0, default 1): shares of
//             windows. An entry takes length, holdout, holdout_windows and split_seed from the
//             mixture where it does not have them.
//
// The others:
//
//   length           most tokens of a window; needed.
//   overlap          tokens that a window shares with the one before (default 0). Giraffe's corpus
//                    stage has length / 2.
//   pack             true: documents one after another are one long text; false (the default): no
//                    window mixes two.
//   bos              "document" (default: before each document), "window" (before each window) or
//                    "none".
//   eos              true: after each text (default false). A chat's answers always end with it.
//   system           system text of conversations (default: Vicuna's).
//   shuffle          false: always in the order of the documents (default true: each epoch in
//                    an order of its own).
//   holdout          records kept for validation: a number of them, or a share below 1 (default
//                    0). Which ones depends on split_seed alone. Of an endless dataset: its first.
//   holdout_windows  most windows of them (default: all), drawn under split_seed.
//   split_seed       default 24301.
//   max_memory       bytes that the tokens of a dataset that ends may take (default 2^32).
//
// Unknown keys are errors. With `tokens`, the keys that only matter when tokens are made (params,
// seed, eos, system, bos "document", max_memory) are refused: the file has them.
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
