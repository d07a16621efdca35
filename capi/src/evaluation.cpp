#include "runtime/evaluation/evaluation.h"

#include <okapi/evaluation.h>

#include <limits>

#include "capi/src/cancel_object.h"
#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/poison.h"
#include "capi/src/progress.h"
#include "capi/src/results_object.h"
#include "capi/src/task_object.h"
#include "capi/src/text_out.h"
#include "runtime/model/model.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

struct okapi_evaluation : okapi::capi::Handle {
  okapi_evaluation(std::shared_ptr<okapi::RuntimeContext> parent,
                   std::shared_ptr<okapi::Evaluation> made)
      : context(std::move(parent)), evaluation(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<okapi::Evaluation> evaluation;
  Poison poison;
};

namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

okapi::EvaluationOptions engine_options(const okapi_evaluation_options& given) {
  check_range(given.batch_size, 0, std::numeric_limits<int32_t>::max(), "options.batch_size");
  check_range(given.rope_length, OKAPI_ROPE_LENGTH_FOLLOW, kMax, "options.rope_length");
  check_range(given.max_samples, 0, kMax, "options.max_samples");
  check_boolean(given.deterministic, "options.deterministic");
  check_reserved(given.reserved, "options.reserved");

  okapi::EvaluationOptions options;
  if (given.rope != nullptr) options.rope = given.rope->rope;
  options.rope_length = given.rope_length;
  options.batch_size = given.batch_size;
  if (given.results != nullptr) options.results = given.results->results;
  options.max_samples = given.max_samples;
  options.adapter = adapter_of(given.adapter);
  options.deterministic = given.deterministic == 1;
  return options;
}

/// The engine's evaluation, unless an earlier failure has spoilt it.
const okapi::Evaluation& healthy(const okapi_evaluation* evaluation) {
  require(evaluation, "evaluation")->poison.check();
  return *evaluation->evaluation;
}

}  // namespace

okapi_status okapi_evaluation_create(okapi_task* task, okapi_model* model,
                                     const okapi_evaluation_options* options,
                                     okapi_evaluation** evaluation, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(evaluation, "evaluation");
    require(task, "task");
    require(model, "model");
    const auto given = read_struct(options, "options", "OKAPI_EVALUATION_OPTIONS_INIT");
    *evaluation = new okapi_evaluation(
        task->context, okapi::Evaluation::create(task->task, model->model, engine_options(given)));
  });
}

okapi_evaluation* okapi_evaluation_ref(okapi_evaluation* evaluation) {
  return ref(__func__, evaluation);
}

void okapi_evaluation_unref(okapi_evaluation* evaluation) { unref(__func__, evaluation); }

okapi_status okapi_evaluation_run(okapi_evaluation* evaluation, const okapi_run_options* options,
                                  okapi_error** error) {
  return guard(__func__, error, [&] {
    require(evaluation, "evaluation");
    const auto given = read_struct(options, "options", "OKAPI_RUN_OPTIONS_INIT");
    check_reserved(given.reserved, "options.reserved");

    Progress progress("evaluate", given.progress, given.progress_user_data);
    okapi::RunOptions chosen;
    chosen.cancel = token_of(given.cancel);
    if (progress.is_wanted()) {
      chosen.progress = [&progress](int64_t done, int64_t total) { progress.report(done, total); };
    }
    evaluation->poison.change([&] { evaluation->evaluation->run(chosen); });
  });
}

okapi_status okapi_evaluation_report(const okapi_evaluation* evaluation, char* buffer,
                                     size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error,
               [&] { copy_json(healthy(evaluation).report(), buffer, capacity, needed); });
}

okapi_status okapi_evaluation_describe(const okapi_evaluation* evaluation, char* buffer,
                                       size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error,
               [&] { copy_json(healthy(evaluation).describe(), buffer, capacity, needed); });
}
