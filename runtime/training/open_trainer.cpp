#include "runtime/training/open_trainer.h"

#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/data/prefetch.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

std::shared_ptr<const Tokenizer> open_tokenizer(const RuntimeContext& context,
                                                const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.model";
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    throw Error(Code::not_found, "model: there is no such folder")
        .in("training")
        .field("model")
        .at(folder.string());
  }
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(Code::not_found, "model: the folder has no tokenizer.model, which the data need")
        .in("training")
        .field("model")
        .at(folder.string());
  }
  return Tokenizer::open(path, context.tokenizer_directories());
}

}  // namespace

std::shared_ptr<Trainer> open_trainer(const std::shared_ptr<RuntimeContext>& context,
                                      const TrainerConfig& config,
                                      const OpenTrainerOptions& options) {
  if (config.data.is_null()) throw bad_config("data", "there is nothing to train on");
  const std::shared_ptr<const Tokenizer> tokenizer = open_tokenizer(*context, config.model);
  DataOptions data_options;
  data_options.progress = options.progress;
  data_options.cancel = options.cancel;
  data_options.n_threads = context->n_threads();
  data_options.path = "data";
  const WindowSources sources = open_window_sources(config.data, tokenizer, context->plugin_host(),
                                                    config.seed, data_options);

  TrainerData data;
  data.train = sources.training;
  data.evaluation = sources.validation;
  if (!config.evaluation.data.is_null()) {
    data_options.path = "evaluation.data";
    data.evaluation = open_window_source(config.evaluation.data, tokenizer, context->plugin_host(),
                                         config.seed, data_options);
  }
  if (options.prefetch) data.train = std::make_shared<PrefetchingSource>(data.train);
  return Trainer::create(context, config, std::move(data), options.resume);
}

}  // namespace okapi
