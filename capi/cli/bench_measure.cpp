#include "capi/cli/bench_measure.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include <unistd.h>

#include "capi/cli/interrupt.h"

namespace okapi::cli {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kDecodedTokens = 16;  // per round

void prefill(okapi_session* session, const int32_t* tokens, int64_t n_tokens) {
  const float* logits = nullptr;
  api::call(okapi_session_prefill, session, tokens, n_tokens, &logits);
}

// What a backend sets up once is paid for by the first tokens, which are left out.
constexpr int64_t kFirstTokens = 2;

// What decoding adds to a session, at most.
constexpr int64_t kDecodeRoom = kFirstTokens + kDecodedTokens + 1;

// Greedily, to the last token: as many passes of a token of each.
void generate(std::span<okapi_session* const> sessions, const int32_t* prompt, int64_t n_prompt,
              int64_t n_tokens) {
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = n_tokens;
  options.ignore_eos = 1;
  const size_t n = sessions.size();
  const std::vector<const int32_t*> prompts(n, prompt);
  const std::vector<int64_t> n_prompts(n, n_prompt);
  std::vector<std::vector<int32_t>> ids(n, std::vector<int32_t>(static_cast<size_t>(n_tokens)));
  std::vector<int32_t*> out;
  for (std::vector<int32_t>& of_one : ids) out.push_back(of_one.data());
  std::vector<size_t> n_ids(n);
  api::call(okapi_session_generate_batch, sessions.data(), static_cast<uint64_t>(n), prompts.data(),
            n_prompts.data(), &options, out.data(), static_cast<size_t>(n_tokens), n_ids.data(),
            nullptr);
}

// The mean of a few tokens.
double seconds_per_decode(okapi_session* session) {
  constexpr int32_t kFed = 1;
  generate({&session, 1}, &kFed, 1, kFirstTokens);
  const double seconds = seconds_of([&] { generate({&session, 1}, nullptr, 0, kDecodedTokens); });
  return seconds / static_cast<double>(kDecodedTokens);
}

double attention_flops(const okapi_model_info& info, int64_t n_tokens) {
  const auto tokens = static_cast<double>(n_tokens);
  return 2 * tokens * tokens * static_cast<double>(info.n_heads * info.head_dim * info.n_layers);
}

// Multiplications and additions of the layers; logits are made for the last token only.
double prefill_flops(const okapi_model_info& info, int64_t n_tokens) {
  const auto tokens = static_cast<double>(n_tokens);
  const auto embedding = static_cast<double>(info.vocab_size * info.d_model);
  const double outside_layers = info.tied_embeddings ? embedding : 2 * embedding;
  return 2 * (static_cast<double>(info.n_parameters) - outside_layers) * tokens +
         attention_flops(info, n_tokens);
}

// Every weight but the rows of an embedding that is not also the output matrix.
double decode_bytes(const okapi_model_info& info) {
  auto bytes = static_cast<double>(info.weight_bytes);
  if (info.tied_embeddings) return bytes;
  const double element = info.dtype == OKAPI_DTYPE_F32 ? 4 : 2;
  return bytes - static_cast<double>(info.vocab_size * info.d_model) * element;
}

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double n_pages = 0;
  double n_resident = 0;
  statm >> n_pages >> n_resident;
  return n_resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace

void note(const std::string& what) {
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "\r\033[K%s", what.c_str());
}

BenchRun::BenchRun(okapi_runtime* runtime, okapi_model* model, uint64_t seed,
                   const ProductSize& product)
    : runtime_(runtime),
      model_(model),
      info_(OKAPI_MODEL_INFO_INIT),
      seed_(seed),
      product_(product) {
  api::call(okapi_model_get_info, model_, &info_);
}

std::vector<int32_t> BenchRun::random_tokens(int64_t n) const {
  std::mt19937_64 random(seed_);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random() % static_cast<uint64_t>(info_.vocab_size));
  }
  return tokens;
}

api::Handle<okapi_session> BenchRun::open_session(int64_t context_length) const {
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.context_length = context_length;
  options.rope_length = context_length;
  auto session = api::make<okapi_session>(okapi_session_create, model_, &options);
  api::call(okapi_session_set_cancel, session.get(), interrupt().token);
  return session;
}

Json BenchRun::measure_rates(int64_t n_tokens, int64_t n_rounds) {
  // What a backend computes in beside bf16 weights is its own choice.
  const int32_t product_dtype =
      info_.dtype == OKAPI_DTYPE_BF16 ? OKAPI_DTYPE_DEFAULT : OKAPI_DTYPE_F32;
  const std::vector<int32_t> tokens = random_tokens(n_tokens);
  okapi_measurement matmul = OKAPI_MEASUREMENT_INIT;
  okapi_measurement bandwidth = OKAPI_MEASUREMENT_INIT;
  double best_matmul = 0;
  double best_bandwidth = 0;
  double best_prefill = std::numeric_limits<double>::infinity();
  double best_decode = std::numeric_limits<double>::infinity();
  for (int64_t round = 0; round < n_rounds; ++round) {
    note("round " + std::to_string(round + 1) + " of " + std::to_string(n_rounds));
    api::call(okapi_runtime_measure_matmul, runtime_, product_.m, product_.n, product_.k,
              product_dtype, &matmul);
    best_matmul = std::max(best_matmul, matmul.value);
    {
      const auto session = open_session(n_tokens);
      best_prefill = std::min(best_prefill,
                              seconds_of([&] { prefill(session.get(), tokens.data(), n_tokens); }));
    }
    api::call(okapi_runtime_measure_bandwidth, runtime_, uint64_t{0}, &bandwidth);
    best_bandwidth = std::max(best_bandwidth, bandwidth.value);
    const auto session = open_session(1 + kDecodeRoom);
    prefill(session.get(), tokens.data(), 1);
    best_decode = std::min(best_decode, seconds_per_decode(session.get()));
  }
  note("");

  const double bytes = decode_bytes(info_);
  return {{"weight_bytes", info_.weight_bytes},
          {"n_parameters", info_.n_parameters},
          {"ceilings",
           {{"matmul_flops_per_s", best_matmul},
            {"matmul_kernel", matmul.kernel},
            {"bandwidth_bytes_per_s", best_bandwidth}}},
          {"prefill", prefill_json(n_tokens, best_prefill, best_matmul)},
          {"decode",
           {{"seconds_per_token", best_decode},
            {"tokens_per_s", 1 / best_decode},
            {"bytes_per_token", bytes},
            {"bytes_per_s", bytes / best_decode},
            {"fraction", bytes / best_decode / best_bandwidth}}}};
}

Json BenchRun::prefill_json(int64_t n_tokens, double seconds, double flops_ceiling) const {
  const double flops = prefill_flops(info_, n_tokens);
  const double in_attention = attention_flops(info_, n_tokens);
  const double attention = attention_ceiling(n_tokens);
  const double least_seconds = (flops - in_attention) / flops_ceiling + in_attention / attention;
  return {{"n_tokens", n_tokens},
          {"seconds", seconds},
          {"tokens_per_s", static_cast<double>(n_tokens) / seconds},
          {"flops_per_s", flops / seconds},
          {"fraction", flops / seconds / flops_ceiling},
          {"attention_flops_per_s", attention},
          {"fraction_of_both", least_seconds / seconds}};
}

double BenchRun::attention_ceiling(int64_t n_tokens) const {
  okapi_measurement measured = OKAPI_MEASUREMENT_INIT;
  api::call(okapi_runtime_measure_attention, runtime_, n_tokens, info_.n_heads, info_.n_kv_heads,
            info_.head_dim, info_.dtype, &measured);
  return measured.value;
}

Json BenchRun::measure_prefills(const std::vector<int64_t>& lengths, int64_t n_rounds,
                                double flops_ceiling) {
  Json rows = Json::array();
  for (const int64_t n_tokens : lengths) {
    const std::vector<int32_t> tokens = random_tokens(n_tokens);
    double best = std::numeric_limits<double>::infinity();
    for (int64_t round = 0; round < n_rounds; ++round) {
      note("prefill of " + std::to_string(n_tokens));
      const auto session = open_session(n_tokens);
      best = std::min(best, seconds_of([&] { prefill(session.get(), tokens.data(), n_tokens); }));
    }
    rows.push_back(prefill_json(n_tokens, best, flops_ceiling));
  }
  note("");
  return rows;
}

Json BenchRun::measure_batch(int64_t n_sessions, int64_t depth, double bandwidth_ceiling) {
  const auto n = static_cast<size_t>(n_sessions);
  const std::vector<int32_t> tokens = random_tokens(std::max<int64_t>(depth, 1) + 1);
  std::vector<api::Handle<okapi_session>> sessions;
  std::vector<okapi_session*> pointers;
  for (size_t i = 0; i < n; ++i) {
    note("batch: session " + std::to_string(i + 1));
    sessions.push_back(open_session(depth + kDecodeRoom));
    pointers.push_back(sessions.back().get());
    if (depth > 0) prefill(pointers.back(), tokens.data(), depth);
  }
  note("");
  generate(pointers, tokens.data() + depth, 1, kFirstTokens);
  const double seconds = seconds_of([&] { generate(pointers, nullptr, 0, kDecodedTokens); }) /
                         static_cast<double>(kDecodedTokens);
  const double bytes = decode_bytes(info_) + static_cast<double>(n_sessions * depth) *
                                                 static_cast<double>(info_.kv_bytes_per_token);
  return {
      {"n_sessions", n_sessions},    {"depth", depth},
      {"seconds_per_step", seconds}, {"tokens_per_s", static_cast<double>(n_sessions) / seconds},
      {"bytes_per_step", bytes},     {"fraction", bytes / seconds / bandwidth_ceiling}};
}

Json BenchRun::measure_depths(const std::vector<int64_t>& depths, double bandwidth_ceiling) {
  Json rows = Json::array();
  if (depths.empty()) return rows;
  if (!std::is_sorted(depths.begin(), depths.end()))
    throw api::invalid("depths must ascend", "depths");

  const std::vector<int32_t> tokens = random_tokens(depths.back() + 1);
  const auto session = open_session(std::max<int64_t>(depths.back(), 1) + kDecodeRoom);
  for (const int64_t depth : depths) {
    note("depth " + std::to_string(depth));
    const int64_t held = okapi_session_n_tokens(session.get());
    const int64_t n_new = std::max<int64_t>(depth, 1) - held;
    Json rate;
    if (n_new > 0) {
      const double seconds =
          seconds_of([&] { prefill(session.get(), tokens.data() + held, n_new); });
      if (depth > 0) rate = static_cast<double>(n_new) / seconds;
    }
    const double per_token = seconds_per_decode(session.get());
    const Json about = Json::parse(api::text(okapi_session_describe, session.get()));
    rows.push_back({{"depth", depth},
                    {"decode_tokens_per_s", 1 / per_token},
                    {"decode_fraction",
                     (decode_bytes(info_) +
                      static_cast<double>(depth) * static_cast<double>(info_.kv_bytes_per_token)) /
                         per_token / bandwidth_ceiling},
                    {"prefill_tokens_per_s", rate},
                    {"cache_bytes", about.value("cache_bytes", uint64_t{0})},
                    {"resident_bytes", resident_bytes()}});
    api::call(okapi_session_truncate, session.get(), std::max<int64_t>(depth, 1));
  }
  note("");
  return rows;
}

}  // namespace okapi::cli
