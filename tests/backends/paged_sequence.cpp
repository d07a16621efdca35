#include "tests/backends/paged_sequence.h"

namespace okapi {

Rotation random_rotation(RandomValues& random, int64_t n, int64_t d) {
  const Values angles = random(n * d / 2, 3.0);
  const Values magnitudes = random(n * d / 2, 0.1);
  Rotation rotation;
  for (size_t i = 0; i < angles.size(); ++i) {
    rotation.cosines.push_back(rounded(std::cos(angles[i]) * (1 + magnitudes[i]), DType::f32));
    rotation.sines.push_back(rounded(std::sin(angles[i]) * (1 + magnitudes[i]), DType::f32));
  }
  return rotation;
}

PagedSequence::PagedSequence(std::shared_ptr<Backend> backend, Stream& stream,
                             const KvLayout& layout, int64_t n_keys)
    : stream_(stream), layout_(layout) {
  const auto page_elements = static_cast<int64_t>(layout.page_bytes() / size_of(layout.dtype));
  const std::vector<std::byte> nothing =
      encode(Values(static_cast<size_t>(page_elements), NAN), layout.dtype);
  for (int64_t key = 0; key < n_keys; key += layout.page_tokens) {
    memory_.emplace_back(backend, layout.dtype, std::initializer_list<int64_t>{page_elements});
    pointers_.push_back(memory_.back().view().data);
    stream_.upload(pointers_.back(), nothing.data(), nothing.size());
  }
}

/// Bytes from the start of the page to the row of one token: k then v, each [K, page_tokens, D],
/// per layer.
size_t PagedSequence::element(int64_t layer, int64_t kv_head, int64_t within, bool values) const {
  const int64_t half = layout_.n_kv_heads * layout_.page_tokens * layout_.head_dim;
  const int64_t row = (kv_head * layout_.page_tokens + within) * layout_.head_dim;
  return static_cast<size_t>(layer * 2 * half + (values ? half : 0) + row) * size_of(layout_.dtype);
}

void PagedSequence::write(int64_t layer, const Values& keys, const Values& values, int64_t n_keys) {
  const int64_t d = layout_.head_dim;
  for (int64_t j = 0; j < n_keys; ++j) {
    for (int64_t head = 0; head < layout_.n_kv_heads; ++head) {
      for (const bool is_value : {false, true}) {
        const Values& from = is_value ? values : keys;
        const auto begin = from.begin() + (j * layout_.n_kv_heads + head) * d;
        const std::vector<std::byte> row = encode(Values(begin, begin + d), layout_.dtype);
        auto* const page =
            static_cast<std::byte*>(pointers_[static_cast<size_t>(j / layout_.page_tokens)]);
        stream_.upload(page + element(layer, head, j % layout_.page_tokens, is_value), row.data(),
                       row.size());
      }
    }
  }
}

Values PagedSequence::read(int64_t layer, int64_t kv_head, bool values, int64_t n_keys) {
  Values all;
  std::vector<std::byte> row(static_cast<size_t>(layout_.head_dim) * size_of(layout_.dtype));
  for (int64_t j = 0; j < n_keys; ++j) {
    const auto* const page =
        static_cast<const std::byte*>(pointers_[static_cast<size_t>(j / layout_.page_tokens)]);
    stream_.download(row.data(), page + element(layer, kv_head, j % layout_.page_tokens, values),
                     row.size());
    stream_.synchronize();
    const Values decoded = decode(row, layout_.dtype);
    all.insert(all.end(), decoded.begin(), decoded.end());
  }
  return all;
}

}  // namespace okapi
