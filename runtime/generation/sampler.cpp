#include "runtime/generation/sampler.h"

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

SampleRule Sampler::next_rule(std::span<const int32_t> forbidden) {
  SampleRule rule;
  rule.temperature = options_.temperature;
  rule.top_p = options_.top_p;
  rule.top_k = options_.top_k;
  if (options_.temperature > 0) rule.draw = random_.uniform();
  rule.forbidden = forbidden;
  return rule;
}

int32_t Sampler::checked(int32_t id) {
  if (id < 0) throw Error(Code::internal, "no logit is finite").in("sampler");
  return id;
}

int32_t Sampler::choose(std::span<const float> logits, std::span<const int32_t> forbidden) {
  return checked(chooser_.choose(logits, next_rule(forbidden)));
}

}  // namespace okapi
