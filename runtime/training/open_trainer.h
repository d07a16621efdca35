// A trainer with the data that its configuration describes: what the faces (C, Lua, YAML, the
// command line) call.
//
//   auto trainer = open_trainer(context, TrainerConfig::from_json(json, file), {.resume = true});
//   trainer->run();
#pragma once

#include <memory>

#include "runtime/base/cancel.h"
#include "runtime/data/open.h"
#include "runtime/runtime_context.h"
#include "runtime/training/trainer.h"

namespace okapi {

struct OpenTrainerOptions {
  bool resume = false;
  bool prefetch = true;                 ///< windows are made ahead on a thread of their own
  DataProgress progress;                ///< while records are made into tokens; may be empty
  const CancelToken* cancel = nullptr;  ///< of opening; borrowed for the call
};

/// Opens `config.data` with the tokenizer of `config.model`'s folder (see <okapi/trainer.h> for
/// its keys), and `config.evaluation.data` for the held-out windows, or where that is absent what
/// `config.data` holds out. Throws invalid_argument when there are no data, not_found when the
/// folder has no tokenizer; what datasets throw; what Trainer::create throws.
std::shared_ptr<Trainer> open_trainer(const std::shared_ptr<RuntimeContext>& context,
                                      const TrainerConfig& config,
                                      const OpenTrainerOptions& options = {});

}  // namespace okapi
