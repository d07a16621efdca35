// Rotation followed at once by the attention to what it rotated, as a decoding step has it: a
// backend may do both together.
#include "tests/backends/paged_sequence.h"

namespace okapi {
namespace {

class RotatedAttentionTest : public BackendTest {
 protected:
  struct Shape {
    int64_t heads, kv_heads, head_dim, page_tokens;
  };
  struct Length {
    int64_t n_cached, n_tokens;
  };

  /// A call's inputs on the host, and the rotation tables of each sequence on the device.
  struct Call {
    Shape shape;
    KvLayout layout;
    std::vector<Length> lengths;
    bool keys_are_raw = false;
    Values qkv;                // [T, (H + 2K) D]
    std::vector<Values> keys;  // per sequence [n_cached + n_tokens, K, D], as cached
    std::vector<Values> values;
    std::vector<Rotation> rotations;  // of queries, then of keys
    std::vector<Tensor> tables;
  };

  static constexpr int64_t kLayer = 1;

  Call call_of(const Shape& shape, const std::vector<Length>& lengths, bool keys_are_raw) {
    Call call;
    call.shape = shape;
    call.layout = {2, shape.kv_heads, shape.head_dim, shape.page_tokens, backend_->kv_dtype()};
    call.lengths = lengths;
    call.keys_are_raw = keys_are_raw;
    for (const Length& length : lengths) {
      const int64_t n_keys = length.n_cached + length.n_tokens;
      const Values rows =
          random(length.n_tokens * (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
      call.qkv.insert(call.qkv.end(), rows.begin(), rows.end());
      call.keys.push_back(
          random_(n_keys * shape.kv_heads * shape.head_dim, 1.0, call.layout.dtype));
      call.values.push_back(
          random_(n_keys * shape.kv_heads * shape.head_dim, 1.0, call.layout.dtype));
      for (const int64_t n : {length.n_tokens, keys_are_raw ? n_keys : length.n_tokens}) {
        call.rotations.push_back(random_rotation(random_, n, shape.head_dim));
        const Rotation& rotation = call.rotations.back();
        call.tables.push_back(put_f32(rotation.cosines, {n, shape.head_dim / 2}));
        call.tables.push_back(put_f32(rotation.sines, {n, shape.head_dim / 2}));
      }
    }
    return call;
  }

  /// Outputs, then the keys and values stored, of pages that hold what was cached before.
  Values run(const Call& call, bool waits_between) {
    const auto& [heads, kv_heads, d, page_tokens] = call.shape;
    std::vector<PagedSequence> paged;
    std::vector<KvSequence> sequences;
    int64_t n_rows = 0;
    for (size_t s = 0; s < call.lengths.size(); ++s) {
      const Length& length = call.lengths[s];
      paged.emplace_back(backend_, *stream_, call.layout, length.n_cached + length.n_tokens);
      paged.back().write(kLayer, call.keys[s], call.values[s], length.n_cached);
      KvSequence sequence{n_rows, length.n_tokens, length.n_cached, paged.back().pages(),
                          paged.back().n_pages()};
      sequence.query_rotation = {call.tables[4 * s].view(), call.tables[4 * s + 1].view()};
      sequence.key_rotation = {call.tables[4 * s + 2].view(), call.tables[4 * s + 3].view()};
      sequence.keys_are_raw = call.keys_are_raw;
      sequence.score_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
      sequences.push_back(sequence);
      n_rows += length.n_tokens;
    }
    Tensor qkv = put(call.qkv, {n_rows, (heads + 2 * kv_heads) * d});
    Tensor out(backend_, activations_, {n_rows, heads * d});
    stream_->synchronize();  // a pass begins
    stream_->rotate_and_store(qkv.view(), heads, call.layout, kLayer, sequences);
    if (waits_between) stream_->synchronize();
    stream_->attention(qkv.view(), heads, call.layout, kLayer, sequences, out.view());
    Values all = get(out.view());
    for (size_t s = 0; s < call.lengths.size(); ++s) {
      const int64_t n_keys = call.lengths[s].n_cached + call.lengths[s].n_tokens;
      for (int64_t head = 0; head < kv_heads; ++head) {
        for (const bool is_value : {false, true}) {
          const Values stored = paged[s].read(kLayer, head, is_value, n_keys);
          all.insert(all.end(), stored.begin() + call.lengths[s].n_cached * d, stored.end());
        }
      }
    }
    return all;
  }

  /// softmax(q k) v of every row and head in plain loops, of rotated queries and keys.
  static Values wanted_outputs(const Call& call) {
    const auto& [heads, kv_heads, d, page_tokens] = call.shape;
    const int64_t width = (heads + 2 * kv_heads) * d;
    const double scale = 1.0 / std::sqrt(static_cast<double>(d));
    Values outputs;
    int64_t row = 0;
    for (size_t s = 0; s < call.lengths.size(); ++s) {
      const auto [n_cached, n_tokens] = call.lengths[s];
      const Rotation& of_queries = call.rotations[2 * s];
      const Rotation& of_keys = call.rotations[2 * s + 1];
      Values keys = call.keys[s];
      Values values = call.values[s];
      for (int64_t i = 0; i < n_tokens; ++i) {
        const double* const key = &call.qkv[(row + i) * width + heads * d];
        std::copy_n(key, kv_heads * d, &keys[(n_cached + i) * kv_heads * d]);
        std::copy_n(key + kv_heads * d, kv_heads * d, &values[(n_cached + i) * kv_heads * d]);
      }
      for (int64_t j = call.keys_are_raw ? 0 : n_cached; j < n_cached + n_tokens; ++j) {
        const int64_t at = (call.keys_are_raw ? j : j - n_cached) * d / 2;
        for (int64_t head = 0; head < kv_heads; ++head) {
          reference::rotate(&keys[(j * kv_heads + head) * d], &of_keys.cosines[at],
                            &of_keys.sines[at], d);
        }
      }
      for (int64_t i = 0; i < n_tokens; ++i, ++row) {
        for (int64_t head = 0; head < heads; ++head) {
          Values query(call.qkv.begin() + row * width + head * d,
                       call.qkv.begin() + row * width + (head + 1) * d);
          reference::rotate(query.data(), &of_queries.cosines[i * d / 2],
                            &of_queries.sines[i * d / 2], d);
          const int64_t n = n_cached + i + 1;
          Values own_keys;
          Values own_values;
          for (int64_t j = 0; j < n; ++j) {
            const int64_t at = (j * kv_heads + head / (heads / kv_heads)) * d;
            own_keys.insert(own_keys.end(), keys.begin() + at, keys.begin() + at + d);
            own_values.insert(own_values.end(), values.begin() + at, values.begin() + at + d);
          }
          const Values one = reference::attend(query.data(), own_keys, own_values, n, d, scale);
          outputs.insert(outputs.end(), one.begin(), one.end());
        }
      }
    }
    return outputs;
  }

  void expect_same(const Shape& shape, const std::vector<Length>& lengths) {
    for (const bool keys_are_raw : {false, true}) {
      const Call call = call_of(shape, lengths, keys_are_raw);
      const Values together = run(call, false);
      const Values apart = run(call, true);
      const Values wanted = wanted_outputs(call);
      const auto what = [&] {
        return ::testing::Message()
               << "heads " << shape.heads << "/" << shape.kv_heads << " of " << shape.head_dim
               << ", pages of " << shape.page_tokens << ", " << lengths.front().n_cached
               << " cached, " << lengths.front().n_tokens << " new, raw " << keys_are_raw;
      };
      // Queries and keys are rounded once more than in attention's own test, after rotation.
      ASSERT_LE(
          error_per_element(Values(together.begin(), together.begin() + wanted.size()), wanted),
          2 * tolerance_)
          << what();
      ASSERT_EQ(together, apart) << what();
    }
  }
};

// Parts of the keys are at least 128 long: the new keys stand alone in the last part, share it,
// fill it, lie across two; pages end before, at and among them.
TEST_P(RotatedAttentionTest, IsTheSameAsOneAfterTheOther) {
  for (const Shape shape : {Shape{4, 2, 64, 64}, {2, 2, 32, 16}, {3, 1, 16, 5}, {2, 1, 128, 64}}) {
    for (const Length length : {Length{0, 1},
                                {0, 4},
                                {62, 4},
                                {64, 1},
                                {124, 4},
                                {126, 4},
                                {127, 1},
                                {128, 1},
                                {300, 3}}) {
      expect_same(shape, {length});
    }
  }
}

// More rows than one block takes: several blocks store the same keys.
TEST_P(RotatedAttentionTest, HoldsForManyHeadsOfAGroup) {
  expect_same({8, 1, 64, 64}, {{126, 4}});
  expect_same({40, 1, 32, 16}, {{0, 4}});
  expect_same({20, 2, 16, 64}, {{130, 3}});
}

// Heads smaller than what kernels are made for, the largest, and such as are not taken by eight.
TEST_P(RotatedAttentionTest, HoldsForOddHeadSizes) {
  expect_same({2, 1, 80, 64}, {{70, 2}});
  expect_same({2, 1, 256, 64}, {{127, 3}});
  expect_same({2, 1, 40, 64}, {{70, 2}});
  expect_same({2, 1, 34, 7}, {{20, 2}});
}

TEST_P(RotatedAttentionTest, TakesBatchesOfDifferentLengths) {
  expect_same({4, 2, 64, 64}, {{700, 1}, {3, 4}, {1300, 2}, {62, 3}, {0, 1}});
  // One of them a prompt: too long to be rotated within.
  expect_same({4, 2, 64, 64}, {{130, 1}, {0, 7}});
}

// Attention to other sequences, or to other rows, than those that were just rotated.
TEST_P(RotatedAttentionTest, RotatesAlsoWhatAttentionDoesNotTake) {
  const Call call = call_of({2, 1, 32, 16}, {{20, 1}, {30, 1}}, false);
  const int64_t d = call.shape.head_dim;
  std::vector<PagedSequence> paged;
  std::vector<KvSequence> sequences;
  for (size_t s = 0; s < 2; ++s) {
    const int64_t n_cached = call.lengths[s].n_cached;
    paged.emplace_back(backend_, *stream_, call.layout, n_cached + 1);
    paged.back().write(kLayer, call.keys[s], call.values[s], n_cached);
    KvSequence sequence{static_cast<int64_t>(s), 1, n_cached, paged.back().pages(),
                        paged.back().n_pages()};
    sequence.query_rotation = {call.tables[4 * s].view(), call.tables[4 * s + 1].view()};
    sequence.key_rotation = {call.tables[4 * s + 2].view(), call.tables[4 * s + 3].view()};
    sequences.push_back(sequence);
  }
  Tensor qkv = put(call.qkv, {2, 4 * d});
  Tensor out(backend_, activations_, {2, 2 * d});
  stream_->rotate_and_store(qkv.view(), 2, call.layout, kLayer, sequences);
  stream_->attention(qkv.view(), 2, call.layout, kLayer, std::span(sequences).first(1), out.view());
  const Values after = get(qkv.view());
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t head = 0; head < 2; ++head) {
      const int64_t at = row * 4 * d + head * d;
      Values query(call.qkv.begin() + at, call.qkv.begin() + at + d);
      const Rotation& rotation = call.rotations[2 * row];
      reference::rotate(query.data(), rotation.cosines.data(), rotation.sines.data(), d);
      EXPECT_LT(relative_error(Values(after.begin() + at, after.begin() + at + d), query),
                tolerance_);
    }
    for (const double x : paged[row].read(kLayer, 0, false, call.lengths[row].n_cached + 1)) {
      EXPECT_TRUE(std::isfinite(x));
    }
  }
}

OKAPI_FOR_EACH_BACKEND(RotatedAttentionTest);

}  // namespace
}  // namespace okapi
