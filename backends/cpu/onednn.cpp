#include "backends/cpu/onednn.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include <dnnl.hpp>

namespace okapi::cpu {

using dnnl::matmul;
using dnnl::memory;

namespace {

// Rows per primitive. Prompts come in all lengths: few fixed sizes, so that few primitives are
// made.
constexpr int64_t kPackedRows[] = {512, 256, 128, 64, 32};

template <typename Call>
auto translated(const char* what, const Call& call) {
  try {
    return call();
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw BackendError(std::string("oneDNN: ") + what + ": " + e.what());
  }
}

memory::desc rows_desc(int64_t rows, int64_t columns, int64_t stride,
                       memory::data_type type = memory::data_type::f32) {
  return {memory::dims{rows, columns}, type, memory::dims{stride, 1}};
}

/// [n, k] rows, seen as the right-hand side [k, n].
memory::desc transposed_desc(int64_t n, int64_t k) {
  return {memory::dims{k, n}, memory::data_type::f32, memory::dims{1, k}};
}

memory::desc free_desc(int64_t n, int64_t k, memory::data_type type = memory::data_type::f32) {
  return {memory::dims{k, n}, type, memory::format_tag::any};
}

/// The scratchpad is ours: the library's own would tie a primitive to the thread that made it.
matmul::primitive_desc describe(const dnnl::engine& engine, const memory::desc& x,
                                const memory::desc& w, const memory::desc& out) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return {engine, x, w, out, attributes};
#else
  return {matmul::desc(x, w, out), attributes, engine};
#endif
}

/// The library's plain GEMM packs its operands within each call.
bool is_plain_gemm(const matmul::primitive_desc& descriptor) {
  const std::string name = descriptor.impl_info_str();
  return name.find("gemm:") == 0 || name.find(":gemm:") != std::string::npos ||
         name.find("ref") != std::string::npos;
}

}  // namespace

class PackedMatrix {
 public:
  PackedMatrix(int64_t rows, int64_t columns, const memory::desc& layout)
      : n(rows), k(columns), desc(layout), data(make_buffer<std::byte>(layout.get_size())) {}

  const int64_t n;
  const int64_t k;
  const memory::desc desc;
  Buffer<std::byte> data;
};

struct OneDnn::State {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};

  struct Made {
    matmul primitive;
    matmul::primitive_desc descriptor;
  };
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>;  // m, n, k, ldx, ldo
  std::mutex mutex;
  std::map<Key, Made> made;
};

OneDnn::OneDnn() : state_(translated("engine", [] { return std::make_unique<State>(); })) {}
OneDnn::~OneDnn() = default;

std::string OneDnn::version() {
  const dnnl_version_t* const v = dnnl_version();
  return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch);
}

bool OneDnn::prefers_packing(int64_t n, int64_t k) const {
  return translated("matmul descriptor", [&] {
    const int64_t m = kPackedRows[0];
    const auto descriptor =
        describe(state_->engine, rows_desc(m, k, k), free_desc(n, k), rows_desc(m, n, n));
    return !is_plain_gemm(descriptor) && descriptor.weights_desc() != transposed_desc(n, k);
  });
}

std::shared_ptr<const PackedMatrix> OneDnn::pack(const float* w, int64_t n, int64_t k) const {
  return translated("packing a weight", [&] {
    const int64_t m = kPackedRows[0];
    const auto descriptor =
        describe(state_->engine, rows_desc(m, k, k), free_desc(n, k), rows_desc(m, n, n));
    auto packed = std::make_shared<PackedMatrix>(n, k, descriptor.weights_desc());
    memory from(transposed_desc(n, k), state_->engine, const_cast<float*>(w));
    memory to(packed->desc, state_->engine, packed->data.get());
    dnnl::stream stream(state_->engine);
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
    return packed;
  });
}

void OneDnn::gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
                  int64_t ldc) const {
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k,
                                          alpha, a, lda, b, ldb, beta, c, ldc);
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  if (status != dnnl_success) {
    throw BackendError("oneDNN: sgemm of " + std::to_string(m) + " x " + std::to_string(n) + " x " +
                       std::to_string(k) + " failed with status " + std::to_string(status));
  }
}

void OneDnn::product(const float* x, int64_t ldx, int64_t m, const float* w, int64_t n, int64_t k,
                     float* out, int64_t ldo) const {
  gemm(false, true, m, n, k, 1.0F, x, ldx, w, k, 0.0F, out, ldo);
}

int64_t OneDnn::packed_rows(int64_t m) {
  for (int64_t rows : kPackedRows) {
    if (rows <= m) return rows;
  }
  return 0;
}

void OneDnn::product_packed(const float* x, int64_t ldx, int64_t m, const PackedMatrix& w,
                            float* out, int64_t ldo, Scratch& scratch) const {
  translated("matmul", [&] {
    const State::Made* made = nullptr;
    {
      const std::lock_guard lock(state_->mutex);
      const State::Key key{m, w.n, w.k, ldx, ldo};
      auto found = state_->made.find(key);
      if (found == state_->made.end()) {
        const auto descriptor =
            describe(state_->engine, rows_desc(m, w.k, ldx), w.desc, rows_desc(m, w.n, ldo));
        found = state_->made.emplace(key, State::Made{matmul(descriptor), descriptor}).first;
      }
      made = &found->second;  // a map never moves what it holds
    }
    const memory::desc scratchpad = made->descriptor.scratchpad_desc();
    dnnl::stream stream(state_->engine);
    made->primitive.execute(
        stream,
        {{DNNL_ARG_SRC, memory(made->descriptor.src_desc(), state_->engine, const_cast<float*>(x))},
         {DNNL_ARG_WEIGHTS, memory(w.desc, state_->engine, w.data.get())},
         {DNNL_ARG_DST, memory(made->descriptor.dst_desc(), state_->engine, out)},
         {DNNL_ARG_SCRATCHPAD,
          memory(scratchpad, state_->engine,
                 scratch.get<std::byte>(ScratchUse::library, scratchpad.get_size()))}});
    stream.wait();
    return 0;
  });
}

MatmulMeasurement OneDnn::measure(int64_t m, int64_t n, int64_t k, DType dtype) const {
  if (m < 1 || n < 1 || k < 1) throw BackendError("measure_matmul: m, n and k must be positive");
  if (dtype != DType::f32 && dtype != DType::bf16) {
    throw BackendError("measure_matmul: the CPU backend multiplies f32 and bf16");
  }
  constexpr int kRuns = 5;
  return translated("measuring a product", [&] {
    const auto type = dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
    const auto descriptor = describe(state_->engine, rows_desc(m, k, k, type),
                                     free_desc(n, k, type), rows_desc(m, n, n));
    std::vector<Buffer<std::byte>> buffers;
    // Ordinary numbers of either type: products of zeros or of subnormals may run at another speed.
    const auto filled = [&](const memory::desc& desc) {
      const size_t bytes = desc.get_size();
      buffers.push_back(make_buffer<std::byte>(bytes));
      std::byte* const data = buffers.back().get();
      for (size_t i = 0; i + 4 <= bytes; i += 4) {
        const uint32_t word =
            0x3F803F80U + (static_cast<uint32_t>(i) * 2654435761U >> 12 & 0x003F003FU);
        std::memcpy(data + i, &word, 4);
      }
      return memory(desc, state_->engine, data);
    };
    const memory x = filled(descriptor.src_desc());
    const memory w = filled(descriptor.weights_desc());
    const memory out = filled(descriptor.dst_desc());
    const memory scratchpad = filled(descriptor.scratchpad_desc());
    const matmul primitive(descriptor);
    dnnl::stream stream(state_->engine);
    double best_seconds = 0;
    for (int run = 0; run <= kRuns; ++run) {  // the first one warms up
      const auto begin = std::chrono::steady_clock::now();
      primitive.execute(stream, {{DNNL_ARG_SRC, x},
                                 {DNNL_ARG_WEIGHTS, w},
                                 {DNNL_ARG_DST, out},
                                 {DNNL_ARG_SCRATCHPAD, scratchpad}});
      stream.wait();
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
      if (run > 0) best_seconds = run == 1 ? taken.count() : std::min(best_seconds, taken.count());
    }
    const double flops =
        2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    return MatmulMeasurement{flops / best_seconds * 1e-9, descriptor.impl_info_str()};
  });
}

}  // namespace okapi::cpu
