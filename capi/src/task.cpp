#include <okapi/task.h>

#include "capi/src/dataset_object.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/task_object.h"
#include "capi/src/text_out.h"
#include "runtime/plugin_host/plugin_host.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

okapi_status okapi_task_open(okapi_runtime* runtime, const char* name, const char* parameters,
                             uint64_t seed, okapi_tokenizer* tokenizer, okapi_dataset* dataset,
                             okapi_task** task, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(task, "task");
    require(runtime, "runtime");
    require(name, "name");
    require(tokenizer, "tokenizer");
    const okapi::Json given = parse_parameters(parameters, "parameters");
    *task = new okapi_task(
        runtime->context, okapi::BoundTask::open(runtime->context->plugin_host(), name, given, seed,
                                                 tokenizer->tokenizer,
                                                 dataset != nullptr ? dataset->dataset : nullptr));
  });
}

okapi_status okapi_task_open_prompts(okapi_runtime* runtime, const char* name,
                                     const char* parameters, const char* prompts_json,
                                     okapi_tokenizer* tokenizer, okapi_task** task,
                                     okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(task, "task");
    require(runtime, "runtime");
    require(name, "name");
    require(prompts_json, "prompts_json");
    require(tokenizer, "tokenizer");
    const okapi::Json given = parse_parameters(parameters, "parameters");
    const okapi::Json prompts = parse_json_argument(prompts_json, "prompts_json");
    *task = new okapi_task(runtime->context, okapi::BoundTask::open_prompts(
                                                 runtime->context->plugin_host(), name, given,
                                                 prompts, "prompts_json", tokenizer->tokenizer));
  });
}

okapi_task* okapi_task_ref(okapi_task* task) { return ref(__func__, task); }

void okapi_task_unref(okapi_task* task) { unref(__func__, task); }

int64_t okapi_task_count(const okapi_task* task) {
  return guard_value(__func__, int64_t{0},
                     [&] { return task != nullptr ? task->task->count() : 0; });
}

okapi_status okapi_task_item(const okapi_task* task, int64_t index, char* buffer, size_t capacity,
                             size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(task, "task")->task->item_json(index), buffer, capacity, needed);
  });
}

okapi_status okapi_task_score(const okapi_task* task, int64_t index, const char* output,
                              char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(task, "task");
    copy_json(task->task->score_json(index, require(output, "output")), buffer, capacity, needed);
  });
}

okapi_status okapi_task_describe(const okapi_task* task, char* buffer, size_t capacity,
                                 size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(task, "task")->task->describe(), buffer, capacity, needed);
  });
}
