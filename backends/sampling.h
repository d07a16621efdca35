// The choice of a token from one row of logits in host memory: what SampleRule (backend.h) says. Of
// the runtime's sampler and of backends whose memory is the host's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace okapi {

class TokenChooser {
 public:
  /// -1 if no logit is left.
  int32_t choose(std::span<const float> logits, const SampleRule& rule) {
    return rule.temperature == 0 ? largest(logits, rule) : drawn(logits, rule);
  }

 private:
  struct Candidate {
    float logit;
    int32_t id;
    uint64_t weight;
  };

  static bool is_allowed(std::span<const float> logits, size_t i, const SampleRule& rule) {
    const auto& forbidden = rule.forbidden;
    return std::isfinite(logits[i]) && std::find(forbidden.begin(), forbidden.end(),
                                                 static_cast<int32_t>(i)) == forbidden.end();
  }

  static int32_t largest(std::span<const float> logits, const SampleRule& rule) {
    int32_t best = -1;
    for (size_t i = 0; i < logits.size(); ++i) {
      // What does not win need not be looked up among the forbidden.
      if (best >= 0 && !(logits[i] > logits[static_cast<size_t>(best)])) continue;
      if (is_allowed(logits, i, rule)) best = static_cast<int32_t>(i);
    }
    return best;
  }

  int32_t drawn(std::span<const float> logits, const SampleRule& rule) {
    candidates_.clear();
    float highest = -INFINITY;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!is_allowed(logits, i, rule)) continue;
      candidates_.push_back({logits[i], static_cast<int32_t>(i), 0});
      highest = std::max(highest, logits[i]);
    }
    if (candidates_.empty()) return -1;

    keep_top_k(rule.top_k);
    uint64_t total = 0;
    for (Candidate& candidate : candidates_) {
      candidate.weight = weight_of(candidate.logit, highest, rule.temperature);
      total += candidate.weight;
    }
    if (rule.top_p < 1) total = keep_top_p(rule.top_p, total);

    // total < 2^63 and draw < 1, but their rounded product may reach the total.
    const uint64_t wanted =
        std::min(static_cast<uint64_t>(rule.draw * static_cast<double>(total)), total - 1);
    uint64_t passed = 0;
    for (const Candidate& candidate : candidates_) {
      passed += candidate.weight;
      if (passed > wanted) return candidate.id;
    }
    return candidates_.back().id;  // not reached: the weights add up to the total
  }

  static uint64_t weight_of(float logit, float highest, float temperature) {
    const double share = std::exp((static_cast<double>(logit) - static_cast<double>(highest)) /
                                  static_cast<double>(temperature));
    return static_cast<uint64_t>(std::llrint(share * 0x1p44));
  }

  static bool is_likelier(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
  static bool comes_first(const Candidate& a, const Candidate& b) { return a.id < b.id; }

  void keep_top_k(int64_t top_k) {
    if (top_k == 0 || top_k >= static_cast<int64_t>(candidates_.size())) return;
    const auto end = candidates_.begin() + top_k;
    std::nth_element(candidates_.begin(), end, candidates_.end(), is_likelier);
    candidates_.erase(end, candidates_.end());
    std::sort(candidates_.begin(), candidates_.end(), comes_first);
  }

  /// What the kept ones weigh together.
  uint64_t keep_top_p(float top_p, uint64_t total) {
    std::sort(candidates_.begin(), candidates_.end(), is_likelier);
    const double wanted = static_cast<double>(top_p) * static_cast<double>(total);
    uint64_t kept = 0;
    size_t n_kept = 0;
    while (n_kept < candidates_.size() && static_cast<double>(kept) < wanted) {
      kept += candidates_[n_kept++].weight;
    }
    candidates_.resize(n_kept);
    std::sort(candidates_.begin(), candidates_.end(), comes_first);
    return kept;
  }

  std::vector<Candidate> candidates_;  // kept, so that a token allocates nothing
};

}  // namespace okapi
