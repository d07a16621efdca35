#include "runtime/kv_cache/sequence_rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/kv_cache/fake_backend.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

constexpr int64_t kPairs = 4;

RopeGeometry geometry(int64_t declared_length) {
  RopeGeometry geometry;
  geometry.head_dim = 2 * kPairs;
  geometry.rotary_dim = 2 * kPairs;
  geometry.trained_length = 64;
  geometry.target_length = declared_length;
  geometry.n_layers = 3;
  return geometry;
}

class SequenceRotationTest : public testing::Test {
 protected:
  SequenceRotation make(const std::string& spec, int64_t declared_length = 64,
                        std::vector<double> positions = {}, bool raw_keys = false) {
    RotationSpec rotation;
    rotation.backend = backend_;
    rotation.shared = &shared_;
    rotation.rope = Rope::parse(spec, engine()->plugin_host(), geometry(0));
    rotation.geometry = geometry(declared_length);
    rotation.n_layers = 3;
    rotation.raw_keys = raw_keys;
    if (!positions.empty()) {
      rotation.positions = std::make_shared<const std::vector<double>>(std::move(positions));
    }
    return SequenceRotation(std::move(rotation));
  }

  KvSequence described(SequenceRotation& rotation, int64_t n_cached, int64_t n_new) {
    rotation.prepare(n_cached, n_new, stream_);
    KvSequence sequence;
    sequence.n_cached = n_cached;
    sequence.n_tokens = n_new;
    rotation.describe_to(sequence, 0);
    return sequence;
  }

  std::shared_ptr<CountingBackend> backend_ = std::make_shared<CountingBackend>();
  RotationCache shared_{backend_};
  CopyingStream stream_;
};

float at(const ConstTensorView& rows, int64_t row, int64_t pair) {
  return static_cast<const float*>(rows.data)[row * kPairs + pair];
}

double plain_frequency(int64_t pair) {
  return std::pow(10000.0, -2.0 * static_cast<double>(pair) / (2 * kPairs));
}

TEST_F(SequenceRotationTest, RowsAreCosAndSinOfThePosition) {
  SequenceRotation rotation = make("plain");
  EXPECT_EQ(rotation.n_groups(), 1);
  for (const auto& [n_cached, n_new] : {std::pair{0, 5}, std::pair{5, 1}, std::pair{6, 1000}}) {
    const KvSequence sequence = described(rotation, n_cached, n_new);
    EXPECT_FALSE(sequence.keys_are_raw);
    EXPECT_EQ(sequence.query_rotation.cos.shape[0], n_new);
    EXPECT_EQ(sequence.key_rotation.cos.shape[0], n_new);
    EXPECT_FLOAT_EQ(sequence.score_scale, 1 / std::sqrt(8.0F));
    for (const int64_t row : {int64_t{0}, int64_t{n_new - 1}}) {
      for (int64_t pair = 0; pair < kPairs; ++pair) {
        const double angle = static_cast<double>(n_cached + row) * plain_frequency(pair);
        EXPECT_NEAR(at(sequence.query_rotation.cos, row, pair), std::cos(angle), 1e-7);
        EXPECT_NEAR(at(sequence.key_rotation.sin, row, pair), std::sin(angle), 1e-7);
      }
    }
  }
}

TEST_F(SequenceRotationTest, RawKeysGetTheRowsOfAllTokens) {
  SequenceRotation rotation = make("plain", 64, {}, /*raw_keys=*/true);
  const KvSequence sequence = described(rotation, 10, 2);
  EXPECT_TRUE(sequence.keys_are_raw);
  EXPECT_EQ(sequence.query_rotation.cos.shape[0], 2);
  EXPECT_EQ(sequence.key_rotation.cos.shape[0], 12);
  EXPECT_NEAR(at(sequence.key_rotation.sin, 3, 0), std::sin(3.0), 1e-7);
}

TEST_F(SequenceRotationTest, GivenPositionsRotateInsteadOfCounting) {
  SequenceRotation rotation = make("plain", 64, {0.5, 2.25, 100});
  const KvSequence sequence = described(rotation, 1, 2);
  EXPECT_NEAR(at(sequence.query_rotation.cos, 0, 0), std::cos(2.25), 1e-7);
  EXPECT_NEAR(at(sequence.query_rotation.cos, 1, 1), std::cos(100 * plain_frequency(1)), 1e-7);
}

TEST_F(SequenceRotationTest, TemperatureAndGainReachTheScore) {
  SequenceRotation rotation = make("yarn:scale=4");
  const KvSequence sequence = described(rotation, 0, 1);
  EXPECT_NEAR(at(sequence.query_rotation.cos, 0, 0), 0.1 * std::log(4.0) + 1,
              1e-6);  // cos 0 times the gain
}

TEST_F(SequenceRotationTest, SequencesUnderEqualTablesShareTheirRows) {
  SequenceRotation first = make("linear:scale=4");
  SequenceRotation second = make("linear:scale=4", 999);
  SequenceRotation third = make("linear:scale=2");
  const KvSequence a = described(first, 0, 9);
  EXPECT_EQ(described(second, 0, 3).query_rotation.cos.data, a.query_rotation.cos.data);
  EXPECT_NE(described(third, 0, 3).query_rotation.cos.data, a.query_rotation.cos.data);
  EXPECT_TRUE(first.gives_the_same_as(second));
  EXPECT_FALSE(first.gives_the_same_as(third));
}

TEST_F(SequenceRotationTest, RowsOutliveTheSequenceTheyWereMadeFor) {
  const void* const rows = [&] {
    SequenceRotation first = make("linear:scale=4");
    return described(first, 0, 300).query_rotation.cos.data;
  }();
  SequenceRotation second = make("linear:scale=4");
  const KvSequence sequence = described(second, 0, 400);  // of these 100 are new
  EXPECT_EQ(sequence.query_rotation.cos.data, rows);
  for (const int64_t row : {0, 299, 300, 399}) {
    for (int64_t pair = 0; pair < kPairs; ++pair) {
      const double angle = static_cast<double>(row) / 4 * plain_frequency(pair);
      EXPECT_NEAR(at(sequence.query_rotation.cos, row, pair), std::cos(angle), 1e-6);
      EXPECT_NEAR(at(sequence.query_rotation.sin, row, pair), std::sin(angle), 1e-6);
    }
  }
}

// Longer than a block of RotationRows::fill, in pieces that begin and end anywhere.
TEST_F(SequenceRotationTest, AnyChunksGiveTheRowsOfOneFill) {
  constexpr int64_t kTokens = 40000;
  std::vector<double> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 0.0);
  RopeTable table;
  for (int64_t pair = 0; pair < kPairs; ++pair) table.inv_freq.push_back(plain_frequency(pair));
  std::vector<float> cos(kTokens * kPairs);
  std::vector<float> sin(cos.size());
  fill_rotation(table, positions, cos.data(), sin.data());

  SequenceRotation chunked = make("plain");
  SequenceRotation given = make("plain", 64, positions);
  for (int64_t n_cached = 0; n_cached < kTokens;) {
    const int64_t n_new = std::min(n_cached * 3 + 7, kTokens - n_cached);
    for (SequenceRotation* rotation : {&chunked, &given}) {
      const KvSequence sequence = described(*rotation, n_cached, n_new);
      const RotaryView& rows = sequence.query_rotation;
      const auto n_bytes = static_cast<size_t>(n_new * kPairs) * sizeof(float);
      ASSERT_EQ(std::memcmp(rows.cos.data, &cos[n_cached * kPairs], n_bytes), 0) << n_cached;
      ASSERT_EQ(std::memcmp(rows.sin.data, &sin[n_cached * kPairs], n_bytes), 0) << n_cached;
    }
    n_cached += n_new;
  }
}

TEST_F(SequenceRotationTest, RowsThatAreKeptHaveABound) {
  // A row and a half per token, cos and sin of four pairs: each table takes a good third of it.
  constexpr int64_t kTokens =
      RotationCache::kKeptBytes / 3 / (2 * kPairs * sizeof(float)) * 2 / 3 + 1000;
  const auto use = [&](const std::string& spec) {
    SequenceRotation rotation = make(spec);
    described(rotation, 0, kTokens);
  };
  use("linear:scale=2");
  use("linear:scale=3");
  use("linear:scale=4");
  const auto n_alive = backend_->n_alive;
  use("linear:scale=5");  // the first ones go
  EXPECT_EQ(backend_->n_alive, n_alive);
}

TEST_F(SequenceRotationTest, LengthMattersOnlyWhereTheTableSaysSo) {
  EXPECT_TRUE(make("dynamic_ntk:scale=2", 30).gives_the_same_as(make("dynamic_ntk:scale=2", 64)));
  EXPECT_FALSE(make("dynamic_ntk:scale=2", 64).gives_the_same_as(make("dynamic_ntk:scale=2", 65)));
  EXPECT_FALSE(make("plain", 64, {0, 1}).gives_the_same_as(make("plain", 64)));
  EXPECT_FALSE(make("xpos:scale_base=8").gives_the_same_as(make("xpos:scale_base=9")));
}

// Whatever the reference, the product of a query's and a key's factor is zeta^((m - n) /
// scale_base).
TEST_F(SequenceRotationTest, MagnitudesKeepTheirProductAtAnyLength) {
  constexpr double kScaleBase = 4;  // zeta_0^(1000/4) is e^-313: beyond float32 and nearly double
  SequenceRotation rotation = make("xpos:scale_base=4,gamma=0.4");
  for (int64_t n_cached = 0; n_cached < 1500;) {
    const int64_t n_new = rotation.longest_step(n_cached, 300);
    ASSERT_GE(n_new, 1);
    const KvSequence sequence = described(rotation, n_cached, n_new);
    ASSERT_TRUE(sequence.keys_are_raw);
    for (int64_t pair = 0; pair < kPairs; ++pair) {
      const double zeta = (2.0 * static_cast<double>(pair) + 0.4 * 2 * kPairs) / (1.4 * 2 * kPairs);
      for (const int64_t query : {int64_t{0}, n_new / 2, n_new - 1}) {
        for (int64_t key = std::max<int64_t>(0, n_cached + query - 20); key <= n_cached + query;
             ++key) {
          // Length of a row's (cos, sin) is its factor.
          const double q = std::hypot(at(sequence.query_rotation.cos, query, pair),
                                      at(sequence.query_rotation.sin, query, pair));
          const double k = std::hypot(at(sequence.key_rotation.cos, key, pair),
                                      at(sequence.key_rotation.sin, key, pair));
          const double wanted =
              std::pow(zeta, static_cast<double>(n_cached + query - key) / kScaleBase);
          ASSERT_NEAR(q * k / wanted, 1.0, 1e-5) << "query " << n_cached + query << ", key " << key;
        }
        // And no factor, of however old a key, is anything but a finite number.
        for (int64_t key = 0; key < n_cached + n_new; key += 37) {
          ASSERT_TRUE(std::isfinite(at(sequence.key_rotation.cos, key, pair)));
        }
      }
    }
    n_cached += n_new;
  }
}

TEST_F(SequenceRotationTest, MagnitudesLimitThePass) {
  SequenceRotation gentle = make("xpos:scale_base=512,gamma=0.4");
  EXPECT_EQ(gentle.longest_step(0, 2000), 2000);  // ln(zeta_0) 2000 / 512 is 4.9
  SequenceRotation steep = make("xpos:scale_base=4,gamma=0.4");
  // |ln(zeta_0)| n / 4 <= 24 with zeta_0 = .4 / 1.4: n is at most 76.
  EXPECT_EQ(steep.longest_step(0, 2000), 77);  // rows 0 .. 76
  EXPECT_EQ(make("plain").longest_step(0, 2000), 2000);
}

TEST_F(SequenceRotationTest, ForkHasRowsOfItsOwn) {
  SequenceRotation rotation = make("xpos:scale_base=4");
  const KvSequence before = described(rotation, 0, 50);
  const auto fork = rotation.fork();
  const KvSequence of_fork = described(*fork, 0, 50);
  EXPECT_NE(of_fork.query_rotation.cos.data, before.query_rotation.cos.data);
}

}  // namespace
}  // namespace okapi::test
