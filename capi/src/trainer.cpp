#include "runtime/training/trainer.h"

#include <okapi/trainer.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "capi/src/cancel_object.h"
#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/poison.h"
#include "capi/src/progress.h"
#include "capi/src/text_out.h"
#include "runtime/runtime_context.h"
#include "runtime/training/open_trainer.h"
#include "runtime/training/plan.h"
#include "runtime/training/trainer_config.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

struct okapi_trainer : okapi::capi::Handle {
  okapi_trainer(std::shared_ptr<okapi::RuntimeContext> parent, std::shared_ptr<okapi::Trainer> made)
      : context(std::move(parent)), trainer(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<okapi::Trainer> trainer;
  okapi::Json metrics = okapi::Json::object();  ///< the latest of each kind
  Poison poison;
};

namespace {

okapi::Json json_of(const okapi::TrainingStep& step) {
  return {{"step", step.step},
          {"loss", step.loss},
          {"gradient_norm", step.gradient_norm},
          {"learning_rate", step.learning_rate},
          {"n_tokens", step.n_tokens},
          {"n_learned", step.n_learned},
          {"seconds", step.seconds},
          {"tokens_per_second", step.tokens_per_second()},
          {"rope", step.rope}};
}

okapi::Json json_of(const okapi::TrainingEvaluation& evaluation) {
  okapi::Json buckets = okapi::Json::array();
  for (const okapi::LossBucket& bucket : evaluation.buckets) {
    buckets.push_back({{"first_position", bucket.first_position},
                       {"last_position", bucket.last_position},
                       {"loss", bucket.loss},
                       {"n_tokens", bucket.n_tokens}});
  }
  return {{"step", evaluation.step},
          {"loss", evaluation.loss},
          {"n_tokens", evaluation.n_tokens},
          {"rope", evaluation.rope},
          {"buckets", std::move(buckets)}};
}

okapi::TrainerConfig config_of(const char* text) {
  return okapi::TrainerConfig::from_json(parse_json_argument(require(text, "config"), "config"));
}

/// What a run tells its caller; taken away again when the call ends, however it ends.
class Listening {
 public:
  explicit Listening(okapi_trainer& object, const okapi_train_options& options = {})
      : object_(object),
        options_(options),
        progress_("train", options.progress, options.progress_user_data) {
    okapi::Trainer& trainer = *object.trainer;
    okapi::TrainerListener listener;
    listener.on_step = [this, &trainer](const okapi::TrainingStep& step) {
      tell(OKAPI_METRICS_STEP, "step", json_of(step));
      progress_.report(step.step, trainer.n_steps(), "loss " + std::to_string(step.loss));
    };
    listener.on_evaluation = [this](const okapi::TrainingEvaluation& evaluation) {
      tell(OKAPI_METRICS_EVALUATION, "evaluation", json_of(evaluation));
    };
    listener.on_checkpoint = [this, &trainer](const std::filesystem::path& path) {
      tell(OKAPI_METRICS_CHECKPOINT, "checkpoint",
           {{"step", trainer.steps_done()}, {"path", path.string()}});
    };
    trainer.set_listener(std::move(listener));
  }
  ~Listening() { object_.trainer->set_listener({}); }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  void tell(int32_t kind, const char* key, okapi::Json json) {
    okapi::Json& kept = object_.metrics[key] = std::move(json);
    if (options_.metrics == nullptr) return;
    options_.metrics(kind, kept.dump().c_str(), options_.metrics_user_data);
  }

  okapi_trainer& object_;
  const okapi_train_options options_;
  Progress progress_;
};

}  // namespace

okapi_status okapi_trainer_open(okapi_runtime* runtime, const char* config,
                                const okapi_trainer_options* options, okapi_trainer** trainer,
                                okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(trainer, "trainer");
    require(runtime, "runtime");
    const okapi::TrainerConfig wanted = config_of(config);
    const auto given = read_struct(options, "options", "OKAPI_TRAINER_OPTIONS_INIT");
    check_boolean(given.resume, "options.resume");
    check_reserved(given.reserved, "options.reserved");

    Progress progress("prepare", given.progress, given.progress_user_data);
    okapi::OpenTrainerOptions chosen;
    chosen.resume = given.resume == 1;
    if (progress.is_wanted()) {
      chosen.progress = [&](int64_t done, int64_t total) { progress.report(done, total); };
    }
    const auto cancel = token_of(given.cancel);
    chosen.cancel = cancel.get();
    *trainer =
        new okapi_trainer(runtime->context, okapi::open_trainer(runtime->context, wanted, chosen));
  });
}

okapi_trainer* okapi_trainer_ref(okapi_trainer* trainer) { return ref(__func__, trainer); }

void okapi_trainer_unref(okapi_trainer* trainer) { unref(__func__, trainer); }

okapi_status okapi_trainer_step(okapi_trainer* trainer, okapi_error** error) {
  return guard(__func__, error, [&] {
    const Listening listening(*require(trainer, "trainer"));
    trainer->poison.change([&] { trainer->trainer->step(); });
  });
}

okapi_status okapi_trainer_run(okapi_trainer* trainer, int64_t until,
                               const okapi_train_options* options, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(trainer, "trainer");
    check_range(until, -1, std::numeric_limits<int64_t>::max(), "until");
    const auto given = read_struct(options, "options", "OKAPI_TRAIN_OPTIONS_INIT");
    check_reserved(given.reserved, "options.reserved");
    const Listening listening(*trainer, given);
    const auto cancel = token_of(given.cancel);
    trainer->poison.change([&] { trainer->trainer->run(until, cancel.get()); });
  });
}

okapi_status okapi_trainer_set_cancel(okapi_trainer* trainer, okapi_cancel* cancel,
                                      okapi_error** error) {
  return guard(__func__, error,
               [&] { require(trainer, "trainer")->trainer->set_cancel(token_of(cancel)); });
}

okapi_status okapi_trainer_evaluate(okapi_trainer* trainer, okapi_error** error) {
  return guard(__func__, error, [&] {
    const Listening listening(*require(trainer, "trainer"));
    trainer->poison.change([&] { trainer->trainer->evaluate(); });
  });
}

okapi_status okapi_trainer_save(okapi_trainer* trainer, okapi_error** error) {
  return guard(__func__, error, [&] {
    const Listening listening(*require(trainer, "trainer"));
    trainer->poison.change([&] { trainer->trainer->save(); });
  });
}

okapi_status okapi_trainer_metrics(const okapi_trainer* trainer, char* buffer, size_t capacity,
                                   size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(trainer, "trainer")->poison.check();
    copy_json(trainer->metrics, buffer, capacity, needed);
  });
}

okapi_status okapi_trainer_export(okapi_trainer* trainer, const char* folder, uint8_t merged,
                                  okapi_error** error) {
  return guard(__func__, error, [&] {
    require(trainer, "trainer");
    require_path(folder, "folder");
    check_boolean(merged, "merged");
    trainer->poison.change([&] { trainer->trainer->export_to(folder, merged == 1); });
  });
}

okapi_status okapi_trainer_check_export(const okapi_trainer* trainer, const char* folder,
                                        uint8_t merged, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(trainer, "trainer")->poison.check();
    require_path(folder, "folder");
    check_boolean(merged, "merged");
    trainer->trainer->check_export(folder, merged == 1);
  });
}

okapi_status okapi_trainer_describe(const okapi_trainer* trainer, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(trainer, "trainer")->poison.check();
    copy_json(trainer->trainer->describe(), buffer, capacity, needed);
  });
}

okapi_status okapi_trainer_plan(okapi_runtime* runtime, const char* config, char* buffer,
                                size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(runtime, "runtime");
    // A plan looks at free memory and measures a rate, so that no two are alike: who asked for the
    // size gets the text that was measured.
    thread_local struct {
      std::weak_ptr<const okapi::RuntimeContext> context;  // none: nothing is remembered
      std::string config;
      okapi::Json plan;
    } asked;
    const okapi::TrainerConfig wanted = config_of(config);
    if (buffer == nullptr || asked.context.lock() != runtime->context || asked.config != config) {
      asked.context.reset();
      const okapi::TrainingPlan plan = okapi::plan_training(runtime->context, wanted);
      asked.plan = plan.json();
      asked.plan["text"] = plan.text();
      asked.config = config;
      asked.context = runtime->context;
    }
    copy_json(asked.plan, buffer, capacity, needed);
    if (buffer != nullptr) asked.context.reset();
  });
}
