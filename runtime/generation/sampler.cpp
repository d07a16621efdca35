#include "runtime/generation/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "runtime/base/error.h"

namespace okapi {

namespace {

Error bad_option(const char* field, const std::string& message) {
  return Error(Code::invalid_argument, std::string(field) + ": " + message)
      .in("sampler")
      .field(field);
}

bool is_among(std::span<const int32_t> ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  if (!std::isfinite(options.temperature) || options.temperature < 0) {
    throw bad_option("temperature", "must be finite and at least 0");
  }
  if (options.top_k < 0) throw bad_option("top_k", "must be at least 0");
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw bad_option("top_p", "must be above 0 and at most 1");
  }
}

int32_t Sampler::choose(std::span<const float> logits, std::span<const int32_t> forbidden) {
  candidates_.clear();
  if (options_.temperature == 0) {
    int32_t best = -1;
    for (size_t i = 0; i < logits.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      const bool better =
          best < 0 ? std::isfinite(logits[i]) : logits[i] > logits[static_cast<size_t>(best)];
      if (better && !is_among(forbidden, id)) best = id;
    }
    if (best < 0) throw Error(Code::internal, "no logit is finite").in("sampler");
    return best;
  }

  for (size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (std::isfinite(logits[i]) && !is_among(forbidden, id))
      candidates_.emplace_back(logits[i], id);
  }
  if (candidates_.empty()) throw Error(Code::internal, "no logit is finite").in("sampler");

  // Most likely first, the lower id on a tie. Without top_k and top_p the order does not matter.
  const auto likelier = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  const bool cuts_k =
      options_.top_k > 0 && options_.top_k < static_cast<int64_t>(candidates_.size());
  if (cuts_k) {
    const auto end = candidates_.begin() + options_.top_k;
    std::partial_sort(candidates_.begin(), end, candidates_.end(), likelier);
    candidates_.erase(end, candidates_.end());
  } else if (options_.top_p < 1) {
    std::sort(candidates_.begin(), candidates_.end(), likelier);
  }

  float highest = candidates_.front().first;
  for (const auto& candidate : candidates_) highest = std::max(highest, candidate.first);
  weights_.clear();
  double total = 0;
  for (const auto& candidate : candidates_) {
    weights_.push_back(std::exp((static_cast<double>(candidate.first) - highest) /
                                static_cast<double>(options_.temperature)));
    total += weights_.back();
  }

  if (options_.top_p < 1) {
    double kept = 0;
    size_t n_kept = 0;
    while (n_kept < weights_.size() && kept < static_cast<double>(options_.top_p) * total) {
      kept += weights_[n_kept++];
    }
    weights_.resize(n_kept);
    total = kept;
  }

  double left = random_.uniform() * total;
  for (size_t i = 0; i < weights_.size(); ++i) {
    left -= weights_[i];
    if (left < 0) return candidates_[i].second;
  }
  return candidates_[weights_.size() - 1].second;  // the sum rounded to less than its parts
}

}  // namespace okapi
