// Prefill against the library's product, decoding against memory: see README.md.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "backends/bench/shapes.h"

namespace okapi::bench {
namespace {

constexpr int kRounds = 4;
constexpr int kDecodedTokens = 12;

template <typename Operation>
double seconds(const Operation& operation) {
  const auto begin = std::chrono::steady_clock::now();
  operation();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void print_times(const char* what, const std::map<std::string, double>& times) {
  double total = 0;
  for (const auto& [name, taken] : times) total += taken;
  std::printf("%s by operation:", what);
  for (const auto& [name, taken] : times)
    std::printf(" %s %.1f%%", name.c_str(), 100 * taken / total);
  std::printf("\n");
}

int run(const std::string& module, const std::string& shape_name, DType dtype, int n_threads,
        int64_t n_tokens, int64_t chunk) {
  const auto named =
      std::find_if(std::begin(kShapes), std::end(kShapes),
                   [&](const NamedShape& candidate) { return shape_name == candidate.name; });
  if (named == std::end(kShapes) || n_tokens < 1 || chunk < 1) {
    std::fprintf(stderr, "unknown shape %s, or a number that is not positive\n",
                 shape_name.c_str());
    return EXIT_FAILURE;
  }
  void* const library = dlopen(module.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return EXIT_FAILURE;
  }
  const auto* const entry = static_cast<const BackendEntry*>(dlsym(library, kBackendEntryName));
  BackendOptions options;
  options.n_threads = n_threads;
  const std::unique_ptr<Backend> backend(entry->create(options));
  std::printf("%s, %s in %s\n", backend->device().c_str(), named->name,
              dtype == DType::bf16 ? "bf16" : "f32");
  Forward forward(*backend, named->shape, dtype, n_tokens + kDecodedTokens);

  // In turn, so that what else the machine does falls on both sides; the best of each.
  double product = 0;
  double prefill = 1e9;
  std::string kernel;
  std::map<std::string, double> prefill_times;
  for (int round = 0; round < kRounds; ++round) {
    const MatmulMeasurement measured = backend->measure_matmul(512, 4096, 4096, DType::f32);
    product = std::max(product, measured.gflops);
    kernel = measured.kernel;
    forward.forget();
    forward.take_times();
    const double taken = seconds([&] { forward.prefill(n_tokens, chunk); });
    if (taken < prefill) prefill_times = forward.take_times();
    prefill = std::min(prefill, taken);
  }
  const double reached = named->shape.prefill_flops(n_tokens) / prefill * 1e-9;
  std::printf(
      "prefill of %lld by %lld: %.0f tokens/s, %.1f GF/s; product (%s) %.1f GF/s; ratio %.3f\n",
      static_cast<long long>(n_tokens), static_cast<long long>(chunk),
      static_cast<double>(n_tokens) / prefill, reached, kernel.c_str(), product, reached / product);
  print_times("prefill", prefill_times);

  double read = 0;
  double decode = 1e9;
  std::map<std::string, double> decode_times;
  for (int round = 0; round < kRounds; ++round) {
    read = std::max(
        read, backend->measure_read_bandwidth(std::max<size_t>(forward.weight_bytes(), 1 << 26)));
    forward.forget();
    for (int token = 0; token < kDecodedTokens; ++token) {
      forward.take_times();
      const double taken = seconds([&] { forward.decode(); });
      if (taken < decode) decode_times = forward.take_times();
      decode = std::min(decode, taken);
    }
  }
  const double bytes_per_second = static_cast<double>(forward.weight_bytes()) / decode;
  std::printf("decode: %.1f tokens/s, %.2f GB/s of weights; memory read %.2f GB/s; ratio %.3f\n",
              1 / decode, bytes_per_second * 1e-9, read * 1e-9, bytes_per_second / read);
  print_times("decode", decode_times);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace okapi::bench

int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODULE [SHAPE] [f32|bf16] [THREADS] [TOKENS] [CHUNK]\n",
                 argv[0]);
    return EXIT_FAILURE;
  }
  try {
    return okapi::bench::run(argument(1, ""), argument(2, "smollm2-135m"),
                             argument(3, "f32") == "bf16" ? okapi::DType::bf16 : okapi::DType::f32,
                             std::atoi(argument(4, "2").c_str()),
                             std::atoll(argument(5, "2048").c_str()),
                             std::atoll(argument(6, "512").c_str()));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return EXIT_FAILURE;
  }
}
