#include "backends/bench/forward.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

namespace okapi::bench {

int64_t Shape::product_parameters() const {
  const int64_t width = n_heads * head_dim;
  const int64_t kv_width = n_kv_heads * head_dim;
  return n_layers * (d_model * (2 * width + 2 * kv_width) + 3 * d_model * d_ff + 2 * d_model) +
         d_model;
}

double Shape::prefill_flops(int64_t n_tokens) const {
  const auto t = static_cast<double>(n_tokens);
  return 2.0 * static_cast<double>(product_parameters()) * t +
         2.0 * t * t * static_cast<double>(d_model * n_layers);
}

Forward::Forward(Backend& backend, const Shape& shape, DType weights, int64_t context_length)
    : backend_(backend), shape_(shape), weight_dtype_(weights), stream_(backend.create_stream()) {
  const int64_t width = shape.n_heads * shape.head_dim;
  const int64_t qkv_width = width + 2 * shape.n_kv_heads * shape.head_dim;
  table_ = random_weight(shape.vocab_size, shape.d_model);
  for (int64_t layer = 0; layer < shape.n_layers; ++layer) {
    layers_.push_back({random_weight(qkv_width, shape.d_model), random_weight(shape.d_model, width),
                       random_weight(2 * shape.d_ff, shape.d_model),
                       random_weight(shape.d_model, shape.d_ff)});
  }

  const std::vector<float> ones(static_cast<size_t>(shape.d_model), 1.0F);
  gain_ = tensor(DType::f32, {shape.d_model});
  stream_->upload(gain_.data, ones.data(), ones.size() * sizeof(float));
  const int64_t pairs = shape.head_dim / 2;
  std::vector<float> cosines;
  std::vector<float> sines;
  for (int64_t position = 0; position < context_length; ++position) {
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(position) *
                           std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(pairs));
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  cosines_ = tensor(DType::f32, {context_length, pairs});
  sines_ = tensor(DType::f32, {context_length, pairs});
  stream_->upload(cosines_.data, cosines.data(), cosines.size() * sizeof(float));
  stream_->upload(sines_.data, sines.data(), sines.size() * sizeof(float));

  layout_ = {shape.n_layers, shape.n_kv_heads, shape.head_dim, backend.page_tokens(),
             backend.kv_dtype()};
  for (int64_t token = 0; token < context_length; token += layout_.page_tokens) {
    pages_.push_back(backend.allocate(layout_.page_bytes()));
  }
  memory_.insert(memory_.end(), pages_.begin(), pages_.end());
}

Forward::~Forward() {
  stream_->synchronize();
  for (void* memory : memory_) backend_.release(memory);
}

TensorView Forward::tensor(DType dtype, std::initializer_list<int64_t> shape) {
  size_t bytes = size_of(dtype);
  for (int64_t size : shape) bytes *= static_cast<size_t>(size);
  memory_.push_back(backend_.allocate(bytes));
  return {memory_.back(), dtype, shape};
}

/// Uniform in +-1/sqrt(columns), which keeps activations of size 1.
std::unique_ptr<PreparedWeight> Forward::random_weight(int64_t rows, int64_t columns) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(columns));
  std::vector<std::byte> bytes(static_cast<size_t>(rows * columns) * size_of(weight_dtype_));
  uint32_t state = static_cast<uint32_t>(weight_bytes_) + 1;
  for (size_t at = 0; at < bytes.size(); at += size_of(weight_dtype_)) {
    state = state * 1664525U + 1013904223U;
    const float value = scale * (static_cast<float>(state >> 8) * 0x1p-23F - 1.0F);
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    const auto upper = static_cast<uint16_t>(bits >> 16);
    if (weight_dtype_ == DType::bf16) {
      std::memcpy(&bytes[at], &upper, sizeof(upper));
    } else {
      std::memcpy(&bytes[at], &value, sizeof(value));
    }
  }
  const ConstTensorView block(bytes.data(), weight_dtype_, {rows, columns});
  auto weight = backend_.prepare_weight(std::span(&block, 1), weight_dtype_);
  weight_bytes_ += weight->bytes;
  return weight;
}

template <typename Operation>
void Forward::timed(const char* name, const Operation& operation) {
  const auto begin = std::chrono::steady_clock::now();
  operation();
  stream_->synchronize();
  seconds_[name] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::map<std::string, double> Forward::take_times() { return std::exchange(seconds_, {}); }

void Forward::prefill(int64_t n_tokens, int64_t chunk) {
  for (int64_t done = 0; done < n_tokens; done += chunk) {
    const int64_t n = std::min(chunk, n_tokens - done);
    run(n, done + n == n_tokens);
  }
}

void Forward::run(int64_t n_tokens, bool wants_next) {
  const Shape& s = shape_;
  const int64_t width = s.n_heads * s.head_dim;
  const int64_t qkv_width = width + 2 * s.n_kv_heads * s.head_dim;
  const DType dtype = backend_.activation_dtype();
  if (buffer_tokens_ < n_tokens) {
    buffer_tokens_ = n_tokens;
    residual_ = tensor(dtype, {n_tokens, s.d_model});
    normed_ = tensor(dtype, {n_tokens, s.d_model});
    qkv_ = tensor(dtype, {n_tokens, qkv_width});
    attended_ = tensor(dtype, {n_tokens, width});
    delta_ = tensor(dtype, {n_tokens, s.d_model});
    gate_up_ = tensor(dtype, {n_tokens, 2 * s.d_ff});
    gated_ = tensor(dtype, {n_tokens, s.d_ff});
    last_ = tensor(dtype, {1, s.d_model});
    logits_ = tensor(dtype, {1, s.vocab_size});
    next_ = tensor(DType::i32, {1});
  }
  const auto rows = [&](TensorView view) {
    view.shape[0] = n_tokens;
    return view;
  };
  std::vector<int32_t> ids(static_cast<size_t>(n_tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((i * 7919 + 13) % static_cast<size_t>(s.vocab_size));

  const auto rotation = [&](const TensorView& table) {
    TensorView view = table;
    view.data = static_cast<float*>(view.data) + n_cached_ * view.strides[0];
    view.shape[0] = n_tokens;
    return view;
  };
  KvSequence sequence{0, n_tokens, n_cached_, pages_.data(), static_cast<int64_t>(pages_.size())};
  sequence.query_rotation = sequence.key_rotation = {rotation(cosines_), rotation(sines_)};
  sequence.score_scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  const std::span<const KvSequence> sequences(&sequence, 1);

  constexpr float kEpsilon = 1e-5F;
  timed("embed", [&] { stream_->embed(*table_, ids, rows(residual_)); });
  ConstTensorView delta;
  for (int64_t layer = 0; layer < s.n_layers; ++layer) {
    const Layer& w = layers_[static_cast<size_t>(layer)];
    timed("norm",
          [&] { stream_->add_rms_norm(rows(residual_), delta, gain_, kEpsilon, rows(normed_)); });
    timed("qkv", [&] { stream_->linear(rows(normed_), *w.qkv, rows(qkv_)); });
    timed("rotate",
          [&] { stream_->rotate_and_store(rows(qkv_), s.n_heads, layout_, layer, sequences); });
    timed("attention", [&] {
      stream_->attention(rows(qkv_), s.n_heads, layout_, layer, sequences, rows(attended_));
    });
    timed("out", [&] { stream_->linear(rows(attended_), *w.out, rows(delta_)); });
    timed("norm", [&] {
      stream_->add_rms_norm(rows(residual_), rows(delta_), gain_, kEpsilon, rows(normed_));
    });
    timed("gate_up", [&] { stream_->linear(rows(normed_), *w.gate_up, rows(gate_up_)); });
    timed("swiglu", [&] { stream_->swiglu(rows(gate_up_), rows(gated_)); });
    timed("down", [&] { stream_->linear(rows(gated_), *w.down, rows(delta_)); });
    delta = rows(delta_);
  }
  n_cached_ += n_tokens;
  if (!wants_next) return;
  timed("head", [&] {
    stream_->add_rms_norm(rows(residual_), delta, gain_, kEpsilon, rows(normed_));
    stream_->gather_rows(rows(normed_), std::vector<int64_t>{n_tokens - 1}, last_);
    stream_->linear(last_, *table_, logits_);
    stream_->argmax(logits_, next_);
  });
}

}  // namespace okapi::bench
