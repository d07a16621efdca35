#include "tests/backends/paged_sequence.h"

namespace okapi {
namespace {

class RotateTest : public BackendTest {
 protected:
  struct Shape {
    int64_t heads, kv_heads, head_dim, page_tokens;
  };

  /// Stores two sequences of one call, the second one behind keys already cached, into layer 1
  /// of 2.
  void expect_stored(const Shape& shape, bool keys_are_raw) {
    const auto [heads, kv_heads, d, page_tokens] = shape;
    const KvLayout layout{2, kv_heads, d, page_tokens, backend_->kv_dtype()};
    const int64_t lengths[] = {3, 7};
    const int64_t cached[] = {0, 5};
    const int64_t first_rows[] = {1, 4};  // row 0 belongs to nobody
    const int64_t n_rows = 11;
    const int64_t width = (heads + 2 * kv_heads) * d;
    const Values before = random(n_rows * width);
    Tensor qkv = put(before, {n_rows, width});

    std::vector<PagedSequence> paged;
    std::vector<Rotation> rotations;
    std::vector<Tensor> tables;
    std::vector<KvSequence> sequences;
    for (int s = 0; s < 2; ++s) {
      paged.emplace_back(backend_, *stream_, layout, cached[s] + lengths[s]);
      rotations.push_back(random_rotation(random_, lengths[s], d));
      rotations.push_back(random_rotation(random_, lengths[s], d));
    }
    for (const Rotation& rotation : rotations) {
      const auto n = static_cast<int64_t>(rotation.cosines.size()) / (d / 2);
      tables.push_back(put_f32(rotation.cosines, {n, d / 2}));
      tables.push_back(put_f32(rotation.sines, {n, d / 2}));
    }
    for (int s = 0; s < 2; ++s) {
      KvSequence sequence{first_rows[s], lengths[s], cached[s], paged[s].pages(),
                          paged[s].n_pages()};
      sequence.query_rotation = {tables[4 * s].view(), tables[4 * s + 1].view()};
      if (!keys_are_raw)
        sequence.key_rotation = {tables[4 * s + 2].view(), tables[4 * s + 3].view()};
      sequence.keys_are_raw = keys_are_raw;
      sequences.push_back(sequence);
    }
    stream_->rotate_and_store(qkv.view(), heads, layout, 1, sequences);

    const Values after = get(qkv.view());
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + width, after.begin()));
    for (int s = 0; s < 2; ++s) {
      for (int64_t i = 0; i < lengths[s]; ++i) {
        const int64_t row = first_rows[s] + i;
        const int64_t pairs = d / 2;
        for (int64_t head = 0; head < heads; ++head) {
          Values wanted(before.begin() + row * width + head * d,
                        before.begin() + row * width + (head + 1) * d);
          reference::rotate(wanted.data(), &rotations[2 * s].cosines[i * pairs],
                            &rotations[2 * s].sines[i * pairs], d);
          const Values got(after.begin() + row * width + head * d,
                           after.begin() + row * width + (head + 1) * d);
          EXPECT_LT(relative_error(got, wanted), tolerance_);
        }
        for (int64_t head = 0; head < kv_heads; ++head) {
          const auto key = before.begin() + row * width + (heads + head) * d;
          const auto value = key + kv_heads * d;
          Values wanted(key, key + d);
          if (!keys_are_raw) {
            reference::rotate(wanted.data(), &rotations[2 * s + 1].cosines[i * pairs],
                              &rotations[2 * s + 1].sines[i * pairs], d);
          }
          const int64_t index = cached[s] + i;
          const Values keys = paged[s].read(1, head, false, index + 1);
          const Values values = paged[s].read(1, head, true, index + 1);
          EXPECT_LT(relative_error(Values(keys.end() - d, keys.end()), wanted), tolerance_);
          EXPECT_EQ(Values(values.end() - d, values.end()), Values(value, value + d));
        }
      }
      // Neither the keys cached before nor another layer were touched: they still are what nobody
      // stored.
      for (int64_t head = 0; head < kv_heads; ++head) {
        if (cached[s] > 0) {
          for (double x : paged[s].read(1, head, false, cached[s])) EXPECT_TRUE(std::isnan(x));
        }
        for (double x : paged[s].read(0, head, true, cached[s] + lengths[s]))
          EXPECT_TRUE(std::isnan(x));
      }
    }
  }
};

TEST_P(RotateTest, RotatesAndStores) {
  for (const Shape shape :
       {Shape{1, 1, 2, 4}, {3, 1, 16, 5}, {4, 2, 34, 64}, {9, 3, 64, 3}, {2, 2, 128, 1}}) {
    expect_stored(shape, false);
    expect_stored(shape, true);
  }
}

TEST_P(RotateTest, RefusesTooFewPagesAndTooFewRotations) {
  const KvLayout layout{1, 1, 16, 4, backend_->kv_dtype()};
  PagedSequence paged(backend_, *stream_, layout, 4);
  Tensor qkv = put(random(5 * 3 * 16), {5, 3 * 16});
  KvSequence sequence{0, 5, 0, paged.pages(), paged.n_pages()};
  EXPECT_THROW(stream_->rotate_and_store(qkv.view(), 1, layout, 0, std::span(&sequence, 1)),
               BackendError);
  sequence.n_tokens = 4;
  const Tensor table = put_f32(random_(3 * 8), {3, 8});
  sequence.query_rotation = {table.view(), table.view()};
  EXPECT_THROW(stream_->rotate_and_store(qkv.view(), 1, layout, 0, std::span(&sequence, 1)),
               BackendError);
  sequence.query_rotation = {};
  EXPECT_THROW(stream_->rotate_and_store(qkv.view(), 1, layout, 1, std::span(&sequence, 1)),
               BackendError);
  EXPECT_NO_THROW(stream_->rotate_and_store(qkv.view(), 1, layout, 0, std::span(&sequence, 1)));
}

OKAPI_FOR_EACH_BACKEND(RotateTest);

}  // namespace
}  // namespace okapi
