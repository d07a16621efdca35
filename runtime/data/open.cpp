#include "runtime/data/open.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/data/config.h"
#include "runtime/data/document_maker.h"
#include "runtime/data/make_documents.h"
#include "runtime/data/mixture.h"
#include "runtime/data/token_file.h"
#include "runtime/data/windows.h"
#include "runtime/evaluation/prompt.h"
#include "runtime/plugin_host/plugin_host.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

// Streams of random numbers under the split's seed.
constexpr uint64_t kSplit = 0;
constexpr uint64_t kValidationWindows = 1;

[[noreturn]] void refuse(const std::string& key, const std::string& problem,
                         const DataOptions& options) {
  const std::string field = options.path.empty() ? key : options.path + "." + key;
  throw Error(Code::invalid_argument, field + ": " + problem)
      .in("data")
      .field(field)
      .at(options.file);
}

Json description_of(const Dataset& dataset, const DocumentMaker& maker) {
  return {{"dataset", dataset.describe()}, {"documents", maker.describe()}};
}

/// The first windows of a source, as many as are there.
class FirstWindows : public WindowSource {
 public:
  FirstWindows(std::shared_ptr<const WindowSource> source, int64_t count, uint64_t seed)
      : source_(std::move(source)), order_(source_->count(), seed, kValidationWindows) {
    for (int64_t i = 0; i < count; ++i) chosen_.push_back(order_(i));
    std::sort(chosen_.begin(), chosen_.end());
  }
  int64_t count() const override { return static_cast<int64_t>(chosen_.size()); }
  TokenWindow window(int64_t index) const override {
    return source_->window(chosen_.at(static_cast<size_t>(index % count())));
  }
  int64_t max_tokens() const override { return source_->max_tokens(); }
  Json describe() const override {
    Json json = source_->describe();
    json["count"] = count();
    return json;
  }

 private:
  std::shared_ptr<const WindowSource> source_;
  Permutation order_;
  std::vector<int64_t> chosen_;
};

class Opener {
 public:
  Opener(std::shared_ptr<const Tokenizer> tokenizer, const PluginHost& host, uint64_t seed,
         const DataOptions& options)
      : tokenizer_(std::move(tokenizer)), host_(host), seed_(seed), options_(options) {}

  WindowSources open(const DataConfig& config) const {
    if (!config.mixture.empty()) return open_mixture(config);
    if (!config.tokens.empty()) return open_tokens(config);
    const auto dataset = open_dataset(config);
    const auto maker = std::make_shared<const DocumentMaker>(tokenizer_, config.documents);
    if (dataset->count() < 0) return open_endless(config, dataset, maker);

    MemoryTokens tokens(tokenizer_->vocab_size(), config.max_memory);
    make_documents(*dataset, *maker, options_, [&](const TokenDocument& document, int64_t record) {
      tokens.add(document, record);
    });
    const auto store = tokens.finish(dataset->name(), description_of(*dataset, *maker));
    return split(config, store, dataset->count());
  }

  void prepare(const DataConfig& config, const std::filesystem::path& path) const {
    const auto dataset = open_dataset(config);
    if (dataset->count() < 0) {
      refuse("dataset",
             dataset->name() + " never ends: let it make fewer records, or train on it as it is",
             options_);
    }
    const DocumentMaker maker(tokenizer_, config.documents);
    write_token_file(path, tokenizer_->vocab_size(), [&](TokenStoreBuilder& builder) {
      make_documents(*dataset, maker, options_, [&](const TokenDocument& document, int64_t record) {
        builder.add(document, record);
      });
      if (builder.index().records.empty()) {
        refuse("dataset", "no record of " + dataset->name() + " holds anything to learn", options_);
      }
      return description_of(*dataset, maker);
    });
  }

 private:
  std::shared_ptr<const Dataset> open_dataset(const DataConfig& config) const {
    return host_.dataset(config.dataset)
        ->open(config.params, config.seed, tokenizer_functions(tokenizer_));
  }

  WindowSources open_tokens(const DataConfig& config) const {
    const auto store = open_token_file(config.tokens);
    check_tokenizer(*store, *tokenizer_);
    const Json& chat = store->description().at("documents").at("chat");
    const auto made_for = chat.value("length", int64_t{0});
    if (made_for > config.windows.length) {
      refuse("length",
             "the conversations of " + store->name() + " were split to " +
                 std::to_string(made_for) + " tokens, found " +
                 std::to_string(config.windows.length),
             options_);
    }
    const Json& dataset = store->description().at("dataset");
    return split(config, store, dataset.value("count", int64_t{0}));
  }

  WindowOptions window_options(const DataConfig& config) const {
    WindowOptions windows = config.windows;
    if (windows.bos_id < 0) return windows;
    windows.bos_id = tokenizer_->bos_id();
    if (windows.bos_id < 0) refuse("bos", "the tokenizer has no such token", options_);
    return windows;
  }

  WindowSources open_endless(const DataConfig& config,
                             const std::shared_ptr<const Dataset>& dataset,
                             std::shared_ptr<const DocumentMaker> maker) const {
    for (const auto& [key, is_given] : {std::pair{"pack", config.windows.pack},
                                        {"overlap", config.windows.overlap > 0},
                                        {"bos", config.windows.bos_id >= 0}}) {
      if (is_given) {
        refuse(key, "each record of " + dataset->name() + ", which never ends, is one window",
               options_);
      }
    }
    if (config.holdout > 0 && config.holdout < 1) {
      refuse("holdout", dataset->name() + " never ends: wanted a number of records", options_);
    }
    const Json description = description_of(*dataset, *maker);
    auto held_out = static_cast<int64_t>(config.holdout);
    WindowSources sources;
    if (held_out > 0) {
      const int64_t shown =
          config.holdout_windows > 0 ? std::min(held_out, config.holdout_windows) : held_out;
      sources.validation =
          std::make_shared<RecordWindows>(dataset, description, maker, config.windows, 0, shown);
    }
    sources.training = std::make_shared<RecordWindows>(dataset, description, std::move(maker),
                                                       config.windows, held_out, -1);
    return sources;
  }

  /// By record, so that the pieces of one conversation stay together.
  WindowSources split(const DataConfig& config, const std::shared_ptr<const TokenStore>& store,
                      int64_t n_records) const {
    const double wanted = config.holdout < 1
                              ? std::ceil(config.holdout * static_cast<double>(n_records))
                              : config.holdout;
    const auto held_out = static_cast<int64_t>(wanted);
    if (held_out >= n_records) {
      refuse("holdout",
             "wanted fewer than the " + std::to_string(n_records) + " records of " + store->name() +
                 ", found " + std::to_string(held_out),
             options_);
    }
    const Permutation place(n_records, config.split_seed, kSplit);
    std::vector<int64_t> training;
    std::vector<int64_t> validation;
    for (int64_t i = 0; i < store->n_documents(); ++i) {
      const bool is_held_out = held_out > 0 && place(store->record(i)) < held_out;
      (is_held_out ? validation : training).push_back(i);
    }

    WindowOptions windows = window_options(config);
    WindowSources sources;
    sources.training =
        std::make_shared<const StoreWindows>(store, std::move(training), windows, seed_);
    if (held_out == 0) return sources;
    windows.shuffle = false;
    sources.validation =
        std::make_shared<const StoreWindows>(store, std::move(validation), windows, seed_);
    if (config.holdout_windows > 0 && config.holdout_windows < sources.validation->count()) {
      sources.validation = std::make_shared<const FirstWindows>(
          sources.validation, config.holdout_windows, config.split_seed);
    }
    return sources;
  }

  WindowSources open_mixture(const DataConfig& config) const {
    std::vector<WeightedSource> training;
    std::vector<std::shared_ptr<const WindowSource>> validation;
    for (size_t i = 0; i < config.mixture.size(); ++i) {
      // As the entries' datasets: a seed of its own each.
      const Opener opener(tokenizer_, host_, Random(seed_, i).next(), options_);
      WindowSources sources = opener.open(config.mixture[i]);
      training.push_back({config.mixture[i].weight, std::move(sources.training)});
      if (sources.validation != nullptr) validation.push_back(std::move(sources.validation));
    }
    WindowSources sources;
    sources.training = std::make_shared<const MixtureSource>(std::move(training));
    if (!validation.empty()) {
      sources.validation = std::make_shared<const ConcatenatedSource>(std::move(validation));
    }
    return sources;
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  const PluginHost& host_;
  uint64_t seed_;
  const DataOptions& options_;
};

}  // namespace

WindowSources open_window_sources(const Json& config, std::shared_ptr<const Tokenizer> tokenizer,
                                  const PluginHost& host, uint64_t seed,
                                  const DataOptions& options) {
  const DataConfig checked =
      read_data_config(config, seed, DataUse::windows, options.file, options.path);
  return Opener(std::move(tokenizer), host, seed, options).open(checked);
}

std::shared_ptr<const WindowSource> open_window_source(const Json& config,
                                                       std::shared_ptr<const Tokenizer> tokenizer,
                                                       const PluginHost& host, uint64_t seed,
                                                       const DataOptions& options) {
  return open_window_sources(config, std::move(tokenizer), host, seed, options).training;
}

void prepare_tokens(const Json& config, std::shared_ptr<const Tokenizer> tokenizer,
                    const PluginHost& host, uint64_t seed, const std::filesystem::path& path,
                    const DataOptions& options) {
  const DataConfig checked =
      read_data_config(config, seed, DataUse::tokens, options.file, options.path);
  Opener(std::move(tokenizer), host, seed, options).prepare(checked, path);
}

}  // namespace okapi
