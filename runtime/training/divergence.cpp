#include "runtime/training/divergence.h"

#include <algorithm>
#include <numeric>

namespace okapi {

double DivergenceGuard::mean() const {
  return last_.empty()
             ? 0
             : std::accumulate(last_.begin(), last_.end(), 0.0) / static_cast<double>(last_.size());
}

bool DivergenceGuard::diverges(double loss) {
  last_.push_back(loss);
  if (static_cast<int64_t>(last_.size()) > config_.steps) last_.pop_front();
  if (static_cast<int64_t>(last_.size()) < config_.steps) return false;

  const double now = mean();
  if (!has_lowest_ || now < lowest_) {
    lowest_ = now;
    has_lowest_ = true;
  }
  return config_.nats > 0 && now > lowest_ + config_.nats;
}

Json DivergenceGuard::state() const {
  return {{"last", std::vector<double>(last_.begin(), last_.end())},
          {"lowest", has_lowest_ ? Json(lowest_) : Json(nullptr)}};
}

void DivergenceGuard::restore(const Json& state, const JsonPlace& place) {
  JsonFields fields(state, place);
  const std::vector<double> last = fields.numbers("last", -1e300, 1e300);
  last_.assign(last.begin(), last.end());
  while (static_cast<int64_t>(last_.size()) > config_.steps) last_.pop_front();
  const std::optional<double> lowest = fields.maybe_number("lowest");
  has_lowest_ = lowest.has_value();
  lowest_ = lowest.value_or(0);
  fields.finish();
}

}  // namespace okapi
