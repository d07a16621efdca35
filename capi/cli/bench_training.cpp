#include "capi/cli/bench_training.h"

#include <algorithm>
#include <fstream>

#include <okapi/trainer.h>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/yaml_file.h"

namespace okapi::cli {

namespace {

Json describe(okapi_trainer* trainer) {
  return parse_json(api::text(okapi_trainer_describe, trainer));
}

/// Most memory taken at once: of the device, if it has its own, otherwise by the process.
double peak_bytes(okapi_trainer* trainer) {
  const Json memory = describe(trainer).at("memory");
  if (memory.contains("device_peak")) return memory.at("device_peak");
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

Json read_config(const std::string& file, int64_t n_steps) {
  Json config = read_yaml_file(file).value;
  for (const char* key : {"epochs", "checkpoint", "evaluation", "results"}) config.erase(key);
  config["steps"] = n_steps;
  return config;
}

Json step_once(okapi_trainer* trainer) {
  okapi_train_options options = OKAPI_TRAIN_OPTIONS_INIT;
  options.cancel = interrupt().token;
  Json metrics = parse_json(api::text(okapi_trainer_metrics, trainer));
  const int64_t n_done = metrics.contains("step") ? metrics["step"].value("step", int64_t{0}) : 0;
  api::call(okapi_trainer_run, trainer, n_done + 1, &options);
  return parse_json(api::text(okapi_trainer_metrics, trainer)).at("step");
}

}  // namespace

Json measure_training(okapi_runtime* runtime, const std::string& config_file, int64_t n_rounds,
                      const ProductSize& product) {
  const std::string config = read_config(config_file, n_rounds + 1).dump();
  const Json plan = parse_json(api::text(okapi_trainer_plan, runtime, config.c_str()));
  okapi_trainer_options options = OKAPI_TRAINER_OPTIONS_INIT;
  options.cancel = interrupt().token;
  const auto trainer =
      api::make<okapi_trainer>(okapi_trainer_open, runtime, config.c_str(), &options);

  const std::string dtype = describe(trainer.get()).at("config").at("compute_dtype");
  Json best = step_once(trainer.get());
  const double peak = peak_bytes(trainer.get());  // of a whole step, without the ceiling's matrices
  okapi_measurement matmul = OKAPI_MEASUREMENT_INIT;
  double ceiling = 0;
  for (int64_t round = 0; round < n_rounds; ++round) {
    note("round " + std::to_string(round + 1) + " of " + std::to_string(n_rounds));
    api::call(okapi_runtime_measure_matmul, runtime, product.m, product.n, product.k,
              int32_t{dtype == "bf16" ? OKAPI_DTYPE_BF16 : OKAPI_DTYPE_F32}, &matmul);
    ceiling = std::max(ceiling, matmul.value);
    const Json step = step_once(trainer.get());
    const auto rate = [](const Json& of) { return of.at("tokens_per_second").get<double>(); };
    if (round == 0 || rate(step) > rate(best)) best = step;
  }
  note("");

  const double tokens_per_s = best.at("tokens_per_second");
  const double flops_per_token = plan.at("useful_flops_per_step").get<double>() /
                                 static_cast<double>(plan.at("step_tokens").get<int64_t>());
  return {{"n_tokens", best.at("n_tokens")},
          {"seconds", best.at("seconds")},
          {"tokens_per_s", tokens_per_s},
          {"flops_per_token", flops_per_token},
          {"flops_per_s", flops_per_token * tokens_per_s},
          {"fraction", flops_per_token * tokens_per_s / ceiling},
          {"compute_dtype", dtype},
          {"recompute", plan.at("recompute")},
          {"peak_bytes", peak},
          {"ceilings", {{"matmul_flops_per_s", ceiling}, {"matmul_kernel", matmul.kernel}}}};
}

}  // namespace okapi::cli
