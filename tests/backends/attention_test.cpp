#include "tests/backends/paged_sequence.h"

namespace okapi {
namespace {

class AttentionTest : public BackendTest {
 protected:
  struct Shape {
    int64_t heads, kv_heads, head_dim, page_tokens;
  };
  struct Length {
    int64_t n_cached, n_tokens;
  };

  struct Host {
    Values queries;  // [n_tokens, H, D]
    Values keys;     // [n_keys, K, D], as attention is to see them
    Values values;
  };

  /// softmax(scale q k) v of the i-th query of a head over the keys it sees.
  static Values wanted(const Host& host, const Shape& shape, const Length& length, int64_t i,
                       int64_t head, double scale) {
    const int64_t d = shape.head_dim;
    const int64_t kv_head = head / (shape.heads / shape.kv_heads);
    const int64_t n = length.n_cached + i + 1;
    Values keys;
    Values values;
    for (int64_t j = 0; j < n; ++j) {
      const int64_t at = (j * shape.kv_heads + kv_head) * d;
      keys.insert(keys.end(), host.keys.begin() + at, host.keys.begin() + at + d);
      values.insert(values.end(), host.values.begin() + at, host.values.begin() + at + d);
    }
    return reference::attend(&host.queries[(i * shape.heads + head) * d], keys, values, n, d,
                             scale);
  }

  void expect_attention(const Shape& shape, const std::vector<Length>& lengths, bool keys_are_raw,
                        double query_scale = 1.0) {
    const int64_t d = shape.head_dim;
    const KvLayout layout{2, shape.kv_heads, d, shape.page_tokens, backend_->kv_dtype()};
    const int64_t layer = 1;
    const int64_t width = (shape.heads + 2 * shape.kv_heads) * d;
    const auto score_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));

    int64_t n_rows = 0;
    Values rows;
    std::vector<Host> hosts;
    std::vector<PagedSequence> paged;
    std::vector<Tensor> tables;
    tables.reserve(2 * lengths.size());
    std::vector<KvSequence> sequences;
    for (const Length& length : lengths) {
      const int64_t n_keys = length.n_cached + length.n_tokens;
      Host host;
      host.queries = random(length.n_tokens * shape.heads * d, query_scale);
      host.keys = random_(n_keys * shape.kv_heads * d, 1.0, layout.dtype);
      host.values = random_(n_keys * shape.kv_heads * d, 1.0, layout.dtype);
      paged.emplace_back(backend_, *stream_, layout, n_keys);
      paged.back().write(layer, host.keys, host.values, n_keys);
      KvSequence sequence{n_rows, length.n_tokens, length.n_cached, paged.back().pages(),
                          paged.back().n_pages()};
      sequence.score_scale = score_scale;
      if (keys_are_raw) {
        const Rotation rotation = random_rotation(random_, n_keys, d);
        tables.push_back(put_f32(rotation.cosines, {n_keys, d / 2}));
        tables.push_back(put_f32(rotation.sines, {n_keys, d / 2}));
        sequence.key_rotation = {tables[tables.size() - 2].view(), tables.back().view()};
        sequence.keys_are_raw = true;
        for (int64_t row = 0; row < n_keys * shape.kv_heads; ++row) {
          const int64_t position = row / shape.kv_heads;
          reference::rotate(&host.keys[row * d], &rotation.cosines[position * d / 2],
                            &rotation.sines[position * d / 2], d);
        }
      }
      for (int64_t i = 0; i < length.n_tokens; ++i) {
        const auto query = host.queries.begin() + i * shape.heads * d;
        rows.insert(rows.end(), query, query + shape.heads * d);
        rows.insert(rows.end(), static_cast<size_t>(2 * shape.kv_heads * d),
                    1e3);  // not to be read
      }
      n_rows += length.n_tokens;
      sequences.push_back(sequence);
      hosts.push_back(std::move(host));
    }

    const Tensor qkv = put(rows, {n_rows, width});
    Tensor out(backend_, activations_, {n_rows, shape.heads * d});
    stream_->attention(qkv.view(), shape.heads, layout, layer, sequences, out.view());

    const Values got = get(out.view());
    // The output is a mean of values of size 1 under weights that sum to 1, so its error is
    // measured against 1 and not against the mean, which may be near 0. Scores err by a few ulp of
    // their size, and the weights, their exponentials, by that much of themselves.
    const double allowed = tolerance_ * std::max(1.0, query_scale);
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t i = 0; i < lengths[s].n_tokens; ++i) {
        for (int64_t head = 0; head < shape.heads; ++head) {
          const auto at = got.begin() + ((sequences[s].first_row + i) * shape.heads + head) * d;
          const Values oracle = wanted(hosts[s], shape, lengths[s], i, head, score_scale);
          ASSERT_LE(error_per_element(Values(at, at + d), oracle), allowed)
              << "heads " << shape.heads << "/" << shape.kv_heads << " of " << d << ", pages of "
              << shape.page_tokens << ", " << lengths[s].n_cached << " cached, token " << i
              << ", head " << head;
        }
      }
    }
  }
};

constexpr int64_t kManyKeys = 1100;  // more than two parts of a split decode

TEST_P(AttentionTest, EqualsThePlainSoftmax) {
  for (const Shape shape :
       {Shape{1, 1, 2, 4}, {3, 1, 16, 5}, {4, 2, 34, 64}, {9, 3, 64, 64}, {2, 2, 128, 7}}) {
    for (const Length length :
         {Length{0, 1}, {0, 3}, {0, 65}, {70, 1}, {61, 65}, {64, 64}, {5, 3}}) {
      expect_attention(shape, {length}, false);
    }
  }
}

// As many heads per kv head as there are lanes in a block, and more.
TEST_P(AttentionTest, SharesKeysAmongManyHeads) {
  expect_attention({40, 1, 8, 16}, {{0, 9}}, false);
  expect_attention({150, 1, 4, 16}, {{3, 2}}, false);
}

TEST_P(AttentionTest, TakesRaggedBatches) {
  expect_attention({6, 2, 32, 16}, {{0, 1}, {33, 1}, {0, 40}, {100, 7}, {64, 1}}, false);
  expect_attention({6, 2, 32, 16}, {{0, 1}, {33, 1}, {0, 40}, {100, 7}, {64, 1}}, true);
}

TEST_P(AttentionTest, RotatesRawKeysAsItReads) {
  for (const Shape shape : {Shape{3, 1, 16, 5}, {4, 4, 34, 64}, {9, 3, 64, 64}}) {
    for (const Length length : {Length{0, 1}, {0, 65}, {70, 1}, {61, 65}})
      expect_attention(shape, {length}, true);
  }
}

TEST_P(AttentionTest, DecodesOverManyKeys) {
  expect_attention({4, 2, 64, 64}, {{kManyKeys, 1}, {3, 1}, {512, 1}}, false);
  expect_attention({4, 2, 64, 64}, {{kManyKeys, 1}}, true);
  // A few queries, of which the first does not see the last part at all.
  expect_attention({2, 2, 16, 64}, {{510, 5}}, false);
}

// Scores of some hundred: all but a few weights vanish, none overflows.
TEST_P(AttentionTest, HoldsForLargeScores) {
  expect_attention({4, 2, 64, 64}, {{100, 65}}, false, 60.0);
}

// What the first tokens of a prompt get cannot depend on how many follow in the same call.
TEST_P(AttentionTest, PrefillInChunksEqualsOnePass) {
  const int64_t n = 150;
  const int64_t d = 32;
  const KvLayout layout{1, 2, d, 16, backend_->kv_dtype()};
  PagedSequence paged(backend_, *stream_, layout, n);
  paged.write(0, random_(n * 2 * d, 1.0, layout.dtype), random_(n * 2 * d, 1.0, layout.dtype), n);
  const Tensor qkv = put(random(n * 8 * d), {n, 8 * d});
  Tensor whole(backend_, activations_, {n, 4 * d});
  Tensor chunked(backend_, activations_, {n, 4 * d});
  KvSequence all{0, n, 0, paged.pages(), paged.n_pages()};
  stream_->attention(qkv.view(), 4, layout, 0, std::span(&all, 1), whole.view());
  for (int64_t begin = 0; begin < n; begin += 23) {
    KvSequence chunk{begin, std::min<int64_t>(23, n - begin), begin, paged.pages(),
                     paged.n_pages()};
    stream_->attention(qkv.view(), 4, layout, 0, std::span(&chunk, 1), chunked.view());
  }
  EXPECT_LT(relative_error(get(chunked.view()), get(whole.view())), tolerance_);
}

// Decoding in a batch: what a sequence gets is the same beside longer and shorter ones, to the bit
// where the stream has been told so, otherwise to rounding.
TEST_P(AttentionTest, ADecodedTokenDoesNotDependOnItsBatch) {
  const int64_t d = 64;
  const KvLayout layout{1, 2, d, 64, backend_->kv_dtype()};
  const std::vector<int64_t> n_cached = {700, 3, 1900};
  std::vector<PagedSequence> paged;
  std::vector<KvSequence> sequences;
  for (const int64_t n : n_cached) {
    paged.emplace_back(backend_, *stream_, layout, n + 1);
    paged.back().write(0, random_((n + 1) * 2 * d, 1.0, layout.dtype),
                       random_((n + 1) * 2 * d, 1.0, layout.dtype), n + 1);
    sequences.push_back({static_cast<int64_t>(sequences.size()), 1, n, paged.back().pages(),
                         paged.back().n_pages()});
  }
  const Values rows = random(3 * 8 * d);
  const Tensor qkv = put(rows, {3, 8 * d});
  Tensor together(backend_, activations_, {3, 4 * d});
  stream_->attention(qkv.view(), 4, layout, 0, sequences, together.view());
  const Values usual = get(together.view());
  stream_->set_row_invariant(true);
  stream_->attention(qkv.view(), 4, layout, 0, sequences, together.view());
  const Values all = get(together.view());
  EXPECT_LT(relative_error(usual, all), tolerance_);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const Tensor own =
        put(Values(rows.begin() + row * 8 * d, rows.begin() + (row + 1) * 8 * d), {1, 8 * d});
    Tensor alone(backend_, activations_, {1, 4 * d});
    KvSequence sequence = sequences[i];
    sequence.first_row = 0;
    stream_->attention(own.view(), 4, layout, 0, std::span(&sequence, 1), alone.view());
    EXPECT_EQ(get(alone.view()),
              Values(all.begin() + row * 4 * d, all.begin() + (row + 1) * 4 * d));
  }
}

TEST_P(AttentionTest, RefusesWhatDoesNotFit) {
  const KvLayout layout{1, 2, 16, 4, backend_->kv_dtype()};
  PagedSequence paged(backend_, *stream_, layout, 4);
  const Tensor qkv = put(random(4 * 8 * 16), {4, 8 * 16});
  Tensor out(backend_, activations_, {4, 4 * 16});
  KvSequence sequence{0, 4, 1, paged.pages(), paged.n_pages()};
  EXPECT_THROW(stream_->attention(qkv.view(), 4, layout, 0, std::span(&sequence, 1), out.view()),
               BackendError);
  sequence.n_cached = 0;
  EXPECT_THROW(stream_->attention(qkv.view(), 3, layout, 0, std::span(&sequence, 1), out.view()),
               BackendError);
  sequence.first_row = 1;
  EXPECT_THROW(stream_->attention(qkv.view(), 4, layout, 0, std::span(&sequence, 1), out.view()),
               BackendError);
}

OKAPI_FOR_EACH_BACKEND(AttentionTest);

}  // namespace
}  // namespace okapi
