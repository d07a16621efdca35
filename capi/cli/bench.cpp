// okapi bench: how near prefill, decode and training come to what the machine can do, measured in
// the same run.
#include <fmt/format.h>

#include "capi/cli/bench_job.h"
#include "capi/cli/bench_measure.h"
#include "capi/cli/bench_shapes.h"
#include "capi/cli/bench_training.h"
#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct BenchArguments {
  RuntimeArguments runtime;
  std::string shape = "smollm2-135m";
  std::string model_path;
  std::string training_config;
  std::vector<std::string> dtypes;
  int64_t n_tokens = 2048;
  int64_t n_rounds = 5;
  std::vector<int64_t> prefills;
  std::vector<int64_t> depths = {0, 4096, 16384};
  std::vector<int64_t> product = {512, 4096, 4096};
  int64_t batch = 0;
  int64_t batch_depth = 4096;
  JobSize job;
  std::string tokenizer_file;
  uint64_t seed = 1;
  bool is_json = false;

  ProductSize product_size() const { return {product.at(0), product.at(1), product.at(2)}; }
};

Handle<okapi_model> open_model(const BenchArguments& arguments, okapi_runtime* runtime,
                               const std::string& dtype) {
  if (!arguments.model_path.empty()) {
    ModelArguments model;
    model.path = arguments.model_path;
    model.dtype = dtype;
    return model.open(runtime);
  }
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.dtype = dtype == "bf16" ? OKAPI_DTYPE_BF16 : OKAPI_DTYPE_F32;
  options.cancel = interrupt().token;
  if (!arguments.tokenizer_file.empty()) options.tokenizer_file = arguments.tokenizer_file.c_str();
  return api::make<okapi_model>(okapi_model_create_random, runtime,
                                bench_config(arguments.shape).c_str(), arguments.seed, &options);
}

Json bench_dtype(const BenchArguments& arguments, okapi_runtime* runtime,
                 const std::string& dtype) {
  const auto model = open_model(arguments, runtime, dtype);
  BenchRun run(runtime, model.get(), arguments.seed, arguments.product_size());
  Json result = {{"dtype", dtype}};
  result.update(run.measure_rates(arguments.n_tokens, arguments.n_rounds));
  const Json& ceilings = result.at("ceilings");
  const double bandwidth = ceilings.at("bandwidth_bytes_per_s");
  if (!arguments.prefills.empty()) {
    result["prefills"] = run.measure_prefills(arguments.prefills, arguments.n_rounds,
                                              ceilings.at("matmul_flops_per_s"));
  }
  result["depths"] = run.measure_depths(arguments.depths, bandwidth);
  if (arguments.batch > 0) {
    result["batch"] = run.measure_batch(arguments.batch, arguments.batch_depth, bandwidth);
  }
  if (arguments.job.n_prompts > 0) {
    result["job"] = measure_job(runtime, model.get(), arguments.job, arguments.seed);
  }
  return result;
}

void print_prefill(const Json& prefill) {
  print_line(fmt::format(
      "  prefill {:6}     {:8.1f} GFLOP/s    {:8.1f} tokens/s  {:5.1f} % of the matrix product, "
      "{:.1f} % with attention at its own {:.1f} GFLOP/s",
      prefill.at("n_tokens").get<int64_t>(), prefill.at("flops_per_s").get<double>() * 1e-9,
      prefill.at("tokens_per_s").get<double>(), prefill.at("fraction").get<double>() * 100,
      prefill.at("fraction_of_both").get<double>() * 100,
      prefill.at("attention_flops_per_s").get<double>() * 1e-9));
}

void print_ceiling(const Json& ceilings) {
  print_line(fmt::format("  matrix product     {:8.1f} GFLOP/s    ({})",
                         ceilings.at("matmul_flops_per_s").get<double>() * 1e-9,
                         ceilings.at("matmul_kernel").get<std::string>()));
}

void print_rates(const Json& result) {
  const Json& prefill = result.at("prefill");
  const Json& decode = result.at("decode");
  const Json& ceilings = result.at("ceilings");
  print_line(fmt::format("{}, weights {}", result.at("dtype").get<std::string>(),
                         format_bytes(result.at("weight_bytes").get<double>())));
  print_ceiling(ceilings);
  print_line(fmt::format("  read bandwidth     {:8.1f} GB/s",
                         ceilings.at("bandwidth_bytes_per_s").get<double>() * 1e-9));
  print_prefill(prefill);
  print_line(fmt::format(
      "  decode at depth 0  {:8.1f} GB/s       {:8.1f} tokens/s  {:5.1f} % of the bandwidth",
      decode.at("bytes_per_s").get<double>() * 1e-9, decode.at("tokens_per_s").get<double>(),
      decode.at("fraction").get<double>() * 100));
}

void print_depths(const Json& depths) {
  if (depths.empty()) return;
  std::vector<std::vector<std::string>> rows = {
      {"  depth", "decode tokens/s", "of bandwidth", "prefill tokens/s", "cache", "process"}};
  for (const Json& depth : depths) {
    const bool has_prefill = !depth.at("prefill_tokens_per_s").is_null();
    rows.push_back(
        {fmt::format("  {}", depth.at("depth").get<int64_t>()),
         fmt::format("{:.1f}", depth.at("decode_tokens_per_s").get<double>()),
         fmt::format("{:.1f} %", depth.at("decode_fraction").get<double>() * 100),
         has_prefill ? fmt::format("{:.1f}", depth.at("prefill_tokens_per_s").get<double>()) : "-",
         format_bytes(depth.at("cache_bytes").get<double>()),
         format_bytes(depth.at("resident_bytes").get<double>())});
  }
  print_line(format_table(rows));
}

void print_job(const Json& job) {
  const double shared = job.at("n_shared_tokens").get<double>();
  print_line(fmt::format(
      "  job: {} prompts of {}, {} new tokens: {:.1f} s ({:.1f} % of the prompts' tokens shared); "
      "deterministic {:.2f} times as long; without a cache {:.1f} s a prompt, {:.1f} times as long",
      job.at("n_prompts").get<int64_t>(), job.at("length").get<int64_t>(),
      job.at("n_new_tokens").get<int64_t>(), job.at("seconds").get<double>(),
      100 * shared / job.at("n_prompt_tokens").get<double>(),
      job.at("deterministic").at("seconds").get<double>() /
          job.at("deterministic").at("seconds_otherwise").get<double>(),
      job.at("without_cache_seconds_per_prompt").get<double>(),
      job.at("times_faster").get<double>()));
}

void print_further(const Json& result) {
  if (result.contains("prefills")) {
    for (const Json& prefill : result.at("prefills")) print_prefill(prefill);
  }
  print_depths(result.at("depths"));
  if (result.contains("job")) print_job(result.at("job"));
  if (!result.contains("batch")) return;
  const Json& batch = result.at("batch");
  print_line(fmt::format("  {} at depth {}: {:.1f} tokens/s, {:.1f} % of the bandwidth",
                         batch.at("n_sessions").get<int64_t>(), batch.at("depth").get<int64_t>(),
                         batch.at("tokens_per_s").get<double>(),
                         batch.at("fraction").get<double>() * 100));
}

void print_training(const Json& training) {
  print_ceiling(training.at("ceilings"));
  print_line(fmt::format(
      "  step of {:6}     {:8.1f} GFLOP/s    {:8.1f} tokens/s  {:5.1f} % of the "
      "matrix product",
      training.at("n_tokens").get<int64_t>(), training.at("flops_per_s").get<double>() * 1e-9,
      training.at("tokens_per_s").get<double>(), training.at("fraction").get<double>() * 100));
  print_line(fmt::format("  peak memory        {}{}",
                         format_bytes(training.at("peak_bytes").get<double>()),
                         training.at("recompute").get<bool>() ? ", activations recomputed" : ""));
}

int bench_training(const BenchArguments& arguments, okapi_runtime* runtime, Json report) {
  report["config"] = arguments.training_config;
  report["training"] = measure_training(runtime, arguments.training_config, arguments.n_rounds,
                                        arguments.product_size());
  if (arguments.is_json) {
    print_json(report);
    return kExitOk;
  }
  print_line(fmt::format("{} on {}, {} threads", arguments.training_config,
                         report["runtime"].value("backend", ""),
                         report["runtime"].value("n_threads", 0)));
  print_training(report["training"]);
  return kExitOk;
}

int bench(const BenchArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  Json report = {{"okapi", okapi_version_string()},
                 {"runtime", parse_json(api::text(okapi_runtime_describe, runtime.get()))}};
  if (!arguments.training_config.empty()) return bench_training(arguments, runtime.get(), report);
  report["model"] = arguments.model_path.empty() ? arguments.shape : arguments.model_path;
  report["results"] = Json::array();
  std::vector<std::string> dtypes = arguments.dtypes;
  if (dtypes.empty()) dtypes = {"f32", "bf16"};
  if (!arguments.is_json) {
    print_line(fmt::format("{} on {}, {} threads", report["model"].get<std::string>(),
                           report["runtime"].value("backend", ""),
                           report["runtime"].value("n_threads", 0)));
  }
  for (const std::string& dtype : dtypes) {
    report["results"].push_back(bench_dtype(arguments, runtime.get(), dtype));
    if (arguments.is_json) continue;
    print_rates(report["results"].back());
    print_further(report["results"].back());
  }
  if (arguments.is_json) print_json(report);
  return kExitOk;
}

}  // namespace

void add_bench(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "bench", "Measures prefill and decode, or training, against the machine's ceilings");
  command->footer(
      "The ceilings, a matrix product (--product) and reading memory once, are measured between "
      "the\n"
      "rounds, and the best of each counts. A prefill of T tokens is taken to cost\n"
      "2 (parameters - embedding) T + 2 T^2 d_model n_layers operations; a decoded token reads "
      "every weight.\n"
      "A step of training is taken to cost three times the prefill of its windows, with logits of\n"
      "every token; less where weights are frozen. What is computed again does not count.\n"
      "\n"
      "Examples:\n"
      "  okapi bench --threads 2\n"
      "  okapi bench --model models/savanna-5m --dtype f32 --depths 0 1024 --json\n"
      "  okapi bench --training extend.yaml --rounds 3");
  auto arguments = std::make_shared<BenchArguments>();
  CLI::Option* shape =
      command->add_option("--shape", arguments->shape, "random weights of this shape")
          ->check(CLI::IsMember(bench_shapes()))
          ->capture_default_str();
  command->add_option("--model", arguments->model_path, "a model's own weights instead")
      ->type_name("FOLDER")
      ->excludes(shape);
  command->add_option("--dtype", arguments->dtypes, "weights to measure (default: f32 and bf16)")
      ->check(CLI::IsMember({"f32", "bf16"}));
  command->add_option("--tokens", arguments->n_tokens, "length of the prefill")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--rounds", arguments->n_rounds, "the best of so many counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--depths", arguments->depths,
                   "tokens in the cache, ascending, at which to decode")
      ->check(non_negative())
      ->capture_default_str();
  command->add_option("--prefills", arguments->prefills, "further lengths of prefills to measure")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command
      ->add_option("--product", arguments->product,
                   "M, N and K of the matrix product that is taken for the ceiling")
      ->expected(3)
      ->check(positive())
      ->capture_default_str();
  command->add_option("--batch", arguments->batch, "decode also so many sequences in one pass")
      ->check(non_negative());
  command
      ->add_option("--batch-depth", arguments->batch_depth, "tokens that each of them has cached")
      ->check(non_negative())
      ->capture_default_str();
  CLI::Option* job =
      command
          ->add_option("--job", arguments->job.n_prompts,
                       "also evaluate so many prompts of the lines task, some of them also "
                       "deterministically,\nand one without a cache")
          ->check(positive())
          ->type_name("N");
  command->add_option("--job-length", arguments->job.length, "tokens of each prompt")
      ->check(positive())
      ->capture_default_str()
      ->needs(job);
  command->add_option("--job-tokens", arguments->job.n_new, "tokens generated for each")
      ->check(positive())
      ->capture_default_str()
      ->needs(job);
  command
      ->add_option("--tokenizer", arguments->tokenizer_file,
                   "tokenizer.model beside random weights, for --job")
      ->type_name("FILE")
      ->needs(job)
      ->excludes("--model");
  command->add_option("--seed", arguments->seed, "of weights and tokens")
      ->check(non_negative(Number::seed))
      ->capture_default_str();
  CLI::Option* training =
      command
          ->add_option(
              "--training", arguments->training_config,
              "steps of this configuration of okapi train, which neither evaluate nor save")
          ->type_name("FILE");
  for (const char* other : {"--shape", "--model", "--dtype", "--tokens", "--depths", "--prefills",
                            "--batch", "--batch-depth", "--job", "--seed"}) {
    training->excludes(command->get_option(other));
  }
  command->add_flag("--json", arguments->is_json, "as JSON");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] { *exit_code = bench(*arguments); });
}

}  // namespace okapi::cli
