#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class SampleTest : public BackendTest {
 protected:
  /// One row of logits for each rule.
  std::vector<int32_t> sample(const Values& logits, const std::vector<SampleRule>& rules) {
    const auto n_rows = static_cast<int64_t>(rules.size());
    const Tensor input = put_f32(logits, {n_rows, static_cast<int64_t>(logits.size()) / n_rows});
    Tensor ids(backend_, DType::i32, {n_rows});
    stream_->sample(input.view(), rules, ids.view());
    std::vector<int32_t> got(rules.size());
    stream_->download(got.data(), ids.view().data, got.size() * sizeof(int32_t));
    stream_->synchronize();
    return got;
  }

  /// Every rule on a row of its own, against the oracle. Weights are rounded to 2^-44 of the
  /// largest, which the oracle's are not: the chance that one of these draws falls between is below
  /// 2^-44 n per row.
  void expect_as_reference(const Values& logits, const std::vector<SampleRule>& rules) {
    const std::vector<int32_t> got = sample(logits, rules);
    const size_t n = logits.size() / rules.size();
    for (size_t row = 0; row < rules.size(); ++row) {
      const SampleRule& rule = rules[row];
      const Values of_row(logits.begin() + row * n, logits.begin() + (row + 1) * n);
      EXPECT_EQ(got[row],
                reference::sample(of_row, rule.temperature, rule.top_k, rule.top_p, rule.draw,
                                  {rule.forbidden.begin(), rule.forbidden.end()}))
          << n << " logits, row " << row << ": temperature " << rule.temperature << ", top_k "
          << rule.top_k << ", top_p " << rule.top_p << ", draw " << rule.draw;
    }
  }

  std::vector<SampleRule> rules_for(int64_t n) {
    std::vector<SampleRule> rules;
    for (const float temperature : {0.0F, 0.3F, 1.0F, 4.0F}) {
      for (const int64_t top_k : {int64_t{0}, int64_t{1}, int64_t{5}, n / 3, n}) {
        for (const float top_p : {1.0F, 0.93F, 0.37F, 0.001F}) {
          SampleRule rule;
          rule.temperature = temperature;
          rule.top_k = top_k;
          rule.top_p = top_p;
          rule.draw = static_cast<double>(random_.below(1 << 30)) * 0x1p-30;
          rules.push_back(rule);
        }
      }
    }
    rules[9].draw = 0;
    rules.back().draw = 1 - 0x1p-53;
    return rules;
  }
};

TEST_P(SampleTest, ChoosesAsThePlainLoop) {
  for (const int64_t n : {1, 2, 7, 300, 1025, 32000}) {
    const std::vector<SampleRule> rules = rules_for(n);
    expect_as_reference(random_(static_cast<int64_t>(rules.size()) * n, 5.0), rules);
  }
}

// Few different logits, as rounded weights give them: top_k and top_p cut between equal ones.
TEST_P(SampleTest, TiesGoToTheLowerId) {
  const int64_t n = 500;
  const std::vector<SampleRule> rules = rules_for(n);
  Values logits(rules.size() * n);
  for (double& logit : logits) logit = static_cast<double>(random_.below(4)) * 0.75;
  logits[3] = -0.0;  // the same number as 0.0
  expect_as_reference(logits, rules);
}

TEST_P(SampleTest, LeavesOutWhatIsForbiddenOrNotFinite) {
  const int64_t n = 200;
  std::vector<SampleRule> rules = rules_for(n);
  Values logits = random_(static_cast<int64_t>(rules.size()) * n, 3.0);
  for (size_t i = 0; i < logits.size(); i += 7) logits[i] = i % 2 == 0 ? -INFINITY : NAN;
  logits[21] = INFINITY;
  std::vector<std::vector<int32_t>> forbidden(rules.size());
  for (size_t row = 0; row < rules.size(); row += 2) {
    // The largest, and another.
    const Values of_row(logits.begin() + row * n, logits.begin() + (row + 1) * n);
    forbidden[row] = {static_cast<int32_t>(reference::sample(of_row, 0, 0, 1, 0, {})),
                      static_cast<int32_t>(random_.below(n))};
    rules[row].forbidden = forbidden[row];
  }
  expect_as_reference(logits, rules);
}

TEST_P(SampleTest, SaysSoWhenNothingIsLeft) {
  std::vector<SampleRule> rules(3);
  rules[1].temperature = 1;
  rules[1].top_p = 0.5F;
  const std::vector<int32_t> forbidden = {0, 1, 2};
  rules[2].forbidden = forbidden;
  const Values logits = {NAN, -INFINITY, INFINITY, NAN, NAN, -INFINITY, 1, 2, 3};
  EXPECT_EQ(sample(logits, rules), (std::vector<int32_t>{-1, -1, -1}));
}

// Scaled so far that every weight but the largest is 0, and so little that all are equal.
TEST_P(SampleTest, ExtremeTemperaturesDoNotOverflow) {
  std::vector<SampleRule> rules(2);
  rules[0].temperature = 1e-30F;
  rules[0].draw = 1 - 0x1p-53;
  rules[1].temperature = 3e38F;
  rules[1].draw = 0.6;
  EXPECT_EQ(sample({3e38, -3e38, 3e37, 2, 1, 1, 3, 1, 2.5, 2}, rules),
            (std::vector<int32_t>{0, 3}));
}

TEST_P(SampleTest, RefusesRulesThatMeanNothing) {
  const auto refused = [&](const SampleRule& rule) {
    EXPECT_THROW(sample({1, 2, 3}, {rule}), BackendError);
  };
  refused({.temperature = -1});
  refused({.temperature = NAN});
  refused({.temperature = 1, .top_p = 0});
  refused({.temperature = 1, .top_k = -1});
  refused({.temperature = 1, .draw = 1});
}

OKAPI_FOR_EACH_BACKEND(SampleTest);

}  // namespace
}  // namespace okapi
