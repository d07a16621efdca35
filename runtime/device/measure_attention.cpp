#include "runtime/device/measure_attention.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/device/tensor.h"

namespace okapi {

namespace {

/// [-1, 1) at random: zeros would cost a device less power, and so less time.
std::vector<std::byte> random_values(int64_t n, DType dtype) {
  std::vector<std::byte> bytes(static_cast<size_t>(n) * size_of(dtype));
  Random random(1);
  for (size_t at = 0; at < bytes.size(); at += size_of(dtype)) {
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(2 * random.uniform() - 1));
    // The upper half of a float is a bf16.
    const auto* const from = reinterpret_cast<const std::byte*>(&bits);
    std::copy_n(from + sizeof(bits) - size_of(dtype), size_of(dtype), bytes.data() + at);
  }
  return bytes;
}

}  // namespace

double measure_attention(const std::shared_ptr<Backend>& backend, const AttentionSize& size,
                         DType weights) {
  constexpr int kRuns = 5;
  const int64_t n = size.n_tokens;
  const DType dtype = backend->activation_dtype_beside(weights);
  const KvLayout layout{1, size.n_kv_heads, size.head_dim, backend->page_tokens(),
                        backend->kv_dtype_beside(weights)};
  const int64_t n_pages = (n + layout.page_tokens - 1) / layout.page_tokens;
  const auto page_bytes = static_cast<int64_t>(layout.page_bytes());
  Tensor pages(backend, DType::u8, {n_pages, page_bytes});
  std::vector<void*> addresses;
  for (int64_t page = 0; page < n_pages; ++page) addresses.push_back(pages.rows(page, 1).data);

  const int64_t width = (size.n_heads + 2 * size.n_kv_heads) * size.head_dim;
  Tensor qkv(backend, dtype, {n, width});
  Tensor out(backend, dtype, {n, size.n_heads * size.head_dim});
  Tensor cos(backend, DType::f32, {n, size.head_dim / 2});
  Tensor sin(backend, DType::f32, {n, size.head_dim / 2});
  const std::vector<std::byte> values = random_values(n * width, dtype);
  const std::vector<float> ones(cos.bytes() / sizeof(float), 1.0F);
  const std::vector<float> zeros(ones.size(), 0.0F);
  const std::unique_ptr<Stream> stream = backend->create_stream();
  stream->upload(qkv.view().data, values.data(), values.size());
  stream->upload(cos.view().data, ones.data(), cos.bytes());
  stream->upload(sin.view().data, zeros.data(), sin.bytes());

  KvSequence sequence;
  sequence.n_tokens = n;
  sequence.pages = addresses.data();
  sequence.n_pages = n_pages;
  sequence.query_rotation = {cos.view(), sin.view()};
  sequence.key_rotation = sequence.query_rotation;
  sequence.score_scale = 1 / std::sqrt(static_cast<float>(size.head_dim));

  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run <= kRuns; ++run) {
    stream->rotate_and_store(qkv.view(), size.n_heads, layout, 0, {&sequence, 1});
    stream->synchronize();
    const auto start = std::chrono::steady_clock::now();
    stream->attention(qkv.view(), size.n_heads, layout, 0, {&sequence, 1}, out.view());
    stream->synchronize();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (run > 0) best = std::min(best, taken.count());
  }
  const auto tokens = static_cast<double>(n);
  return 2 * tokens * tokens * static_cast<double>(size.n_heads * size.head_dim) / best;
}

}  // namespace okapi
