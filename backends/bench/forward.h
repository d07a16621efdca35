// The operations of a Llama forward pass in their order, on random weights: what the benchmark
// times.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace okapi::bench {

struct Shape {
  int64_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab_size;

  /// Multiply-adds of one token in the products, without the embedding: parameters but the table.
  int64_t product_parameters() const;
  /// 2 (parameters - embedding) T + 2 T^2 d_model n_layers: the causal half of attention.
  double prefill_flops(int64_t n_tokens) const;
};

/// One sequence and its cache on one stream.
class Forward {
 public:
  Forward(Backend& backend, const Shape& shape, DType weights, int64_t context_length);
  ~Forward();

  /// Feeds n tokens in chunks and takes the most likely next one, so that all work is waited for.
  void prefill(int64_t n_tokens, int64_t chunk);
  void decode() { run(1, true); }
  void forget() { n_cached_ = 0; }

  size_t weight_bytes() const { return weight_bytes_; }

  /// Seconds since the last call of this function, by operation.
  std::map<std::string, double> take_times();

 private:
  struct Layer {
    std::unique_ptr<PreparedWeight> qkv, out, gate_up, down;
  };

  TensorView tensor(DType dtype, std::initializer_list<int64_t> shape);
  std::unique_ptr<PreparedWeight> random_weight(int64_t rows, int64_t columns);
  void run(int64_t n_tokens, bool wants_next);
  template <typename Operation>
  void timed(const char* name, const Operation& operation);

  Backend& backend_;
  Shape shape_;
  DType weight_dtype_;
  std::unique_ptr<Stream> stream_;
  size_t weight_bytes_ = 0;
  std::unique_ptr<PreparedWeight> table_;
  std::vector<Layer> layers_;
  std::vector<void*> memory_;
  TensorView gain_, cosines_, sines_;
  KvLayout layout_;
  std::vector<void*> pages_;
  int64_t n_cached_ = 0;
  int64_t buffer_tokens_ = 0;
  TensorView residual_, normed_, qkv_, attended_, delta_, gate_up_, gated_, last_, logits_, next_;
  std::map<std::string, double> seconds_;
};

}  // namespace okapi::bench
