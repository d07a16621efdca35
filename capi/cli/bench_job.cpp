#include "capi/cli/bench_job.h"

#include <string>
#include <vector>

#include "capi/cli/bench_measure.h"
#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"

namespace okapi::cli {

namespace {

Handle<okapi_task> open_task(okapi_runtime* runtime, okapi_tokenizer* tokenizer,
                             const JobSize& size, uint64_t seed) {
  const Json parameters = {{"style", "longchat"},          {"length", size.length},
                           {"n_samples", size.n_prompts},  {"max_new_tokens", size.n_new},
                           {"min_new_tokens", size.n_new}, {"ignore_eos", true}};
  return api::make<okapi_task>(okapi_task_open, runtime, "lines", parameters.dump().c_str(), seed,
                               tokenizer, nullptr);
}

Json evaluate(okapi_task* task, okapi_model* model, bool is_deterministic) {
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.deterministic = is_deterministic ? 1 : 0;
  const auto evaluation =
      api::make<okapi_evaluation>(okapi_evaluation_create, task, model, &options);
  okapi_run_options run = OKAPI_RUN_OPTIONS_INIT;
  run.cancel = interrupt().token;
  const double seconds =
      seconds_of([&] { api::call(okapi_evaluation_run, evaluation.get(), &run); });
  const Json report = parse_json(api::text(okapi_evaluation_report, evaluation.get()));
  int64_t n_new = 0;
  for (const Json& sample : report.at("samples")) {
    n_new += static_cast<int64_t>(sample.at("output_ids").size());
  }
  return {{"seconds", seconds},
          {"n_new_tokens", n_new},
          {"n_prompt_tokens", report.at("prefill").at("n_prompt_tokens")},
          {"n_shared_tokens", report.at("prefill").at("n_shared_tokens")}};
}

/// Of one prompt whose every new token takes a pass over all before it.
double seconds_without_cache(okapi_task* task, okapi_model* model, const JobSize& size) {
  const Json item = parse_json(api::text(okapi_task_item, task, int64_t{0}));
  auto ids = item.at("prompt_ids").get<std::vector<int32_t>>();
  return seconds_of([&] {
    for (int64_t i = 0; i < size.n_new; ++i) {
      note("without a cache: token " + std::to_string(i + 1));
      okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
      const auto session = api::make<okapi_session>(okapi_session_create, model, &options);
      api::call(okapi_session_set_cancel, session.get(), interrupt().token);
      const float* logits = nullptr;
      api::call(okapi_session_prefill, session.get(), ids.data(), static_cast<int64_t>(ids.size()),
                &logits);
      ids.push_back(ids.back());
    }
  });
}

}  // namespace

Json measure_job(okapi_runtime* runtime, okapi_model* model, const JobSize& size, uint64_t seed) {
  const auto tokenizer = api::make<okapi_tokenizer>(okapi_model_get_tokenizer, model);
  const auto task_of = [&](int64_t n_prompts, uint64_t task_seed) {
    JobSize part = size;
    part.n_prompts = n_prompts;
    return open_task(runtime, tokenizer.get(), part, task_seed);
  };
  const auto task = task_of(size.n_prompts, seed);
  evaluate(task_of(1, seed + 1).get(), model, false);  // what is set up once
  note("job: " + std::to_string(size.n_prompts) + " prompts");
  Json job = {{"n_prompts", size.n_prompts}, {"length", size.length}};
  job.update(evaluate(task.get(), model, /*is_deterministic=*/false));

  note("job: deterministic");
  constexpr int64_t kShare = 10;  // of the prompts, for a comparison
  const int64_t n_compared = (size.n_prompts + kShare - 1) / kShare;
  const auto compared = task_of(n_compared, seed + 2);
  const Json usual = evaluate(compared.get(), model, /*is_deterministic=*/false);
  const Json deterministic = evaluate(compared.get(), model, /*is_deterministic=*/true);
  job["deterministic"] = {{"n_prompts", n_compared},
                          {"seconds", deterministic.at("seconds")},
                          {"seconds_otherwise", usual.at("seconds")}};

  const double one = seconds_without_cache(task.get(), model, size);
  note("");
  job["without_cache_seconds_per_prompt"] = one;
  job["times_faster"] = one * static_cast<double>(size.n_prompts) / job.at("seconds").get<double>();
  return job;
}

}  // namespace okapi::cli
