// Each operation of a training step at the shapes of whole models, beside what the machine gives: a
// product in the library's best layout for what is bound by arithmetic, the rate at which memory is
// read for the rest. The ceiling is measured before and after each operation.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "backends/bench/shapes.h"
#include "backends/training.h"

namespace okapi::bench {
namespace {

constexpr int64_t kSequences = 4;
constexpr int64_t kLoraRank = 8;

/// The buffers of one layer and of the head, for a batch of kSequences.
class Layer {
 public:
  Layer(Backend& backend, const NamedShape& named)
      : backend_(backend),
        s(named.shape),
        length(named.training_length),
        stream(backend.training()->create_training_stream()) {
    const int64_t c = s.d_model;
    residual = tensor({t(), c});
    normed = tensor({t(), c});
    d_residual = tensor({t(), c});
    d_normed = tensor({t(), c});
    norm = tensor({c});
    d_norm = tensor({c});
    qkv = tensor({t(), heads().row_width()});
    d_qkv = tensor({t(), heads().row_width()});
    attended = tensor({t(), s.n_heads * s.head_dim});
    d_attended = tensor({t(), s.n_heads * s.head_dim});
    log_sums = tensor({t(), s.n_heads});
    gate_up = tensor({t(), 2 * s.d_ff});
    d_gate_up = tensor({t(), 2 * s.d_ff});
    gated = tensor({t(), s.d_ff});
    d_gated = tensor({t(), s.d_ff});
    const int64_t shapes[kWeights][2] = {{heads().row_width(), c},
                                         {c, s.n_heads * s.head_dim},
                                         {2 * s.d_ff, c},
                                         {c, s.d_ff},
                                         {s.vocab_size, c}};
    for (int w = 0; w < kWeights; ++w) {
      master[w] = tensor({shapes[w][0], shapes[w][1]}, 0.02F);
      gradient[w] = tensor({shapes[w][0], shapes[w][1]});
      first[w] = tensor({shapes[w][0], shapes[w][1]});
      second[w] = tensor({shapes[w][0], shapes[w][1]}, 0.5F, 0.5F);
      weight[w] = backend.training()->trainable_weight(master[w], DType::f32);
    }
    cosines = tensor({length, s.head_dim / 2});
    sines = tensor({length, s.head_dim / 2});
    lora_a = tensor({kLoraRank, c});
    lora_b = tensor({heads().row_width(), kLoraRank});
    lora_x = tensor({t(), kLoraRank});
    for (int64_t i = 0; i < kSequences; ++i) {
      const RotaryView rotation{cosines, sines};
      sequences.push_back({i * length, length, rotation, rotation, 0.125F});
    }
    for (int64_t i = 0; i < t(); ++i)
      ids.push_back(static_cast<int32_t>((i * 7919 + 13) % s.vocab_size));
  }
  ~Layer() {
    for (void* memory : memory_) backend_.release(memory);
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  int64_t t() const { return kSequences * length; }
  HeadLayout heads() const { return {s.n_heads, s.n_kv_heads, s.head_dim}; }
  /// Pairs of a query and a key it sees, of all heads, times head_dim.
  double attention_pairs() const {
    const auto n = static_cast<double>(length);
    return static_cast<double>(kSequences * s.n_heads * s.head_dim) * n * (n + 1) / 2;
  }

  enum Weight { kQkv, kOut, kGateUp, kDown, kTable, kWeights };

 private:
  /// Even numbers in center +- scale.
  TensorView tensor(std::initializer_list<int64_t> shape, float scale = 1.0F, float center = 0.0F) {
    TensorView view(nullptr, DType::f32, shape);
    std::vector<float> values(static_cast<size_t>(view.count()));
    uint32_t state = 1;
    for (float& value : values) {
      state = state * 1664525U + 1013904223U;
      value = center + scale * (static_cast<float>(state >> 8) * 0x1p-23F - 1.0F);
    }
    const size_t bytes = values.size() * sizeof(float);
    view.data = backend_.allocate(bytes);
    memory_.push_back(view.data);
    stream->upload(view.data, values.data(), bytes);
    return view;
  }

  Backend& backend_;
  std::vector<void*> memory_;

 public:
  const Shape s;
  const int64_t length;
  std::unique_ptr<TrainingStream> stream;
  TensorView residual, normed, d_residual, d_normed, norm, d_norm, qkv, d_qkv, attended, d_attended,
      log_sums, gate_up, d_gate_up, gated, d_gated, cosines, sines, lora_a, lora_b, lora_x;
  TensorView master[kWeights], gradient[kWeights], first[kWeights], second[kWeights];
  std::unique_ptr<PreparedWeight> weight[kWeights];
  std::vector<TrainingSequence> sequences;
  std::vector<int32_t> ids;
};

/// What an operation is measured by: multiply-adds as two, or bytes that must pass.
struct Amount {
  double flops = 0;
  double bytes = 0;
};

struct Operation {
  std::string name;
  Amount amount;
  double per_step;  ///< how often a step of the whole model does it
  std::function<void()> run;
};

std::vector<Operation> operations(Layer& l) {
  const Shape& s = l.s;
  TrainingStream& stream = *l.stream;
  std::vector<Operation> all;
  const auto layers = static_cast<double>(s.n_layers);
  const auto t = static_cast<double>(l.t());
  const auto bytes = [](std::initializer_list<const TensorView*> views) {
    double n = 0;
    for (const TensorView* view : views) n += static_cast<double>(view->count()) * sizeof(float);
    return n;
  };

  const char* const names[] = {"qkv", "out", "gate_up", "down"};
  const TensorView inputs[] = {l.normed, l.attended, l.normed, l.gated};
  const TensorView outputs[] = {l.qkv, l.d_residual, l.gate_up, l.d_residual};
  const TensorView d_outputs[] = {l.d_qkv, l.d_residual, l.d_gate_up, l.d_residual};
  const TensorView d_inputs[] = {l.d_normed, l.d_attended, l.d_normed, l.d_gated};
  for (int w = 0; w < 4; ++w) {
    const double flops = 2 * t * static_cast<double>(l.master[w].count());
    const std::string name = names[w];
    all.push_back({name, {flops}, layers, [=, &l, &stream] {
                     stream.linear(inputs[w], *l.weight[w], outputs[w]);
                   }});
    all.push_back({name + "_backward_input", {flops}, layers, [=, &l, &stream] {
                     stream.linear_backward_input(d_outputs[w], *l.weight[w], d_inputs[w], false);
                   }});
    all.push_back({name + "_backward_weight", {flops}, layers, [=, &l, &stream] {
                     stream.linear_backward_weight(d_outputs[w], inputs[w], l.gradient[w]);
                   }});
  }

  all.push_back({"attention", {4 * l.attention_pairs()}, layers, [&] {
                   stream.attention_forward(l.qkv, l.heads(), l.sequences, l.attended, l.log_sums);
                 }});
  all.push_back({"attention_backward", {10 * l.attention_pairs()}, layers, [&] {
                   stream.attention_backward(l.qkv, l.heads(), l.sequences, l.attended, l.log_sums,
                                             l.d_attended, l.d_qkv);
                 }});
  const double table = static_cast<double>(l.master[Layer::kTable].count());
  all.push_back({"cross_entropy", {6 * t * table}, 1, [&] {
                   stream.cross_entropy(l.normed, *l.weight[Layer::kTable], l.ids, {}, {},
                                        l.d_normed, l.gradient[Layer::kTable]);
                 }});

  all.push_back(
      {"norm", {0, bytes({&l.residual, &l.residual, &l.normed, &l.normed})}, 2 * layers + 1, [&] {
         stream.add_rms_norm(l.residual, l.d_normed, l.norm, 1e-5F, l.normed);
       }});
  all.push_back({"norm_backward",
                 {0, bytes({&l.residual, &l.d_normed, &l.d_residual, &l.d_residual})},
                 2 * layers + 1,
                 [&] {
                   stream.rms_norm_backward(l.residual, l.norm, 1e-5F, l.d_normed, l.d_residual,
                                            l.d_norm);
                 }});
  const double turned = 2 * t * static_cast<double>((s.n_heads + s.n_kv_heads) * s.head_dim) * 4;
  all.push_back({"rotate", {0, turned}, layers, [&] {
                   stream.rotate(l.qkv, l.heads(), l.sequences, false);
                 }});
  all.push_back({"rotate_backward", {0, turned}, layers, [&] {
                   stream.rotate(l.d_qkv, l.heads(), l.sequences, true);
                 }});
  all.push_back({"swiglu", {0, bytes({&l.gate_up, &l.gated})}, layers, [&] {
                   stream.swiglu(l.gate_up, l.gated);
                 }});
  all.push_back(
      {"swiglu_backward", {0, bytes({&l.gate_up, &l.d_gated, &l.d_gate_up})}, layers, [&] {
         stream.swiglu_backward(l.gate_up, l.d_gated, l.d_gate_up);
       }});
  all.push_back({"embed_backward", {0, 3 * bytes({&l.d_residual})}, 1, [&] {
                   stream.embed_backward(l.ids, l.d_residual, l.gradient[Layer::kTable]);
                 }});

  double parameters = table;
  for (int w = 0; w < 4; ++w) parameters += layers * static_cast<double>(l.master[w].count());
  const TensorView& gate_up = l.master[Layer::kGateUp];
  const double times = parameters / static_cast<double>(gate_up.count());
  all.push_back({"adamw", {0, 7 * bytes({&gate_up})}, times, [&] {
                   AdamWStep step;
                   step.learning_rate = 1e-6F;
                   stream.adamw(gate_up, l.gradient[Layer::kGateUp], l.first[Layer::kGateUp],
                                l.second[Layer::kGateUp], step);
                 }});
  all.push_back({"squared_norm", {0, bytes({&gate_up})}, times, [&] {
                   benchmark::DoNotOptimize(stream.squared_norm(l.gradient[Layer::kGateUp]));
                 }});
  all.push_back({"zero", {0, bytes({&gate_up})}, times, [&] {
                   stream.zero(l.gradient[Layer::kGateUp].data,
                               static_cast<size_t>(bytes({&l.gradient[Layer::kGateUp]})));
                 }});
  const double rank = static_cast<double>(kLoraRank);
  all.push_back({"lora_down", {2 * t * rank * static_cast<double>(s.d_model)}, 0, [&] {
                   stream.matmul(l.normed, false, l.lora_a, true, 1, 0, l.lora_x);
                 }});
  all.push_back({"lora_up", {2 * t * rank * static_cast<double>(l.heads().row_width())}, 0, [&] {
                   stream.matmul(l.lora_x, false, l.lora_b, true, 1, 1, l.qkv);
                 }});
  all.push_back({"lora_down_gradient", {2 * t * rank * static_cast<double>(s.d_model)}, 0, [&] {
                   stream.matmul(l.lora_x, true, l.normed, false, 1, 1, l.lora_a);
                 }});
  all.push_back(
      {"lora_up_gradient", {2 * t * rank * static_cast<double>(l.heads().row_width())}, 0, [&] {
         stream.matmul(l.d_qkv, true, l.lora_x, false, 1, 1, l.lora_b);
       }});
  return all;
}

void measure(benchmark::State& state, Backend& backend, const Operation& operation) {
  const bool is_product = operation.amount.flops > 0;
  const double amount = is_product ? operation.amount.flops : operation.amount.bytes;
  const auto ceiling = [&] {
    return is_product ? 1e9 * backend.measure_matmul(512, 4096, 4096, DType::f32).gflops
                      : backend.measure_read_bandwidth(size_t{1} << 26);
  };
  const double before = ceiling();
  operation.run();  // what it needs comes into memory
  double seconds = 0;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    operation.run();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    state.SetIterationTime(taken.count());
    seconds += taken.count();
  }
  const double rate = amount * static_cast<double>(state.iterations()) / seconds;
  state.counters[is_product ? "FLOP/s" : "B/s"] = rate;
  state.counters["ratio"] = rate / std::max(before, ceiling());
  state.counters["in_step"] = operation.per_step;
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s [--benchmark_...] MODULE [THREADS]\n", argv[0]);
    return EXIT_FAILURE;
  }
  void* const library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return EXIT_FAILURE;
  }
  const auto* const entry = static_cast<const BackendEntry*>(dlsym(library, kBackendEntryName));
  BackendOptions options;
  options.n_threads = argc > 2 ? std::atoi(argv[2]) : 2;
  const std::unique_ptr<Backend> backend(entry->create(options));
  if (backend->training() == nullptr) {
    std::fprintf(stderr, "%s does not train\n", backend->device().c_str());
    return EXIT_FAILURE;
  }
  std::printf("%s\n", backend->device().c_str());

  std::vector<std::unique_ptr<Layer>> layers;
  for (const NamedShape& named : kShapes) {
    layers.push_back(std::make_unique<Layer>(*backend, named));
    for (const Operation& operation : operations(*layers.back())) {
      benchmark::RegisterBenchmark(
          (std::string(named.name) + "/" + operation.name).c_str(),
          [operation, &backend](benchmark::State& state) { measure(state, *backend, operation); })
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace okapi::bench

int main(int argc, char** argv) {
  try {
    return okapi::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return EXIT_FAILURE;
  }
}
