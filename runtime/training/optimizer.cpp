#include "runtime/training/optimizer.h"

#include <cmath>

#include "runtime/base/error.h"
#include "runtime/training/parameter_filter.h"

namespace okapi {

namespace {

/// As torch.nn.utils.clip_grad_norm_, so that runs can be compared.
constexpr double kClipEpsilon = 1e-6;

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, const std::vector<ParameterGroupConfig>& groups,
                     const Parameters& parameters)
    : config_(config) {
  std::vector<bool> matches(groups.size());
  for (const Parameter& parameter : parameters.trained()) {
    Options options;
    const bool is_vector = parameter.shape.size() == 1;
    options.weight_decay = is_vector && !config.decay_vectors ? 0 : config.weight_decay;
    for (size_t i = 0; i < groups.size(); ++i) {
      if (!selects_parameter(groups[i].match, parameter.name, parameter.is_adapter)) continue;
      matches[i] = true;
      options.learning_rate_factor = groups[i].learning_rate_factor;
      options.weight_decay = groups[i].weight_decay.value_or(options.weight_decay);
      break;
    }
    options_.push_back(options);
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    if (matches[i]) continue;
    throw bad_config("parameters.groups[" + std::to_string(i) + "].match",
                     "\"" + groups[i].match.front() +
                         "\" matches no trained parameter that an earlier group has left");
  }
}

double Optimizer::gradient_norm(const Parameters& parameters, TrainingStream& stream) {
  std::vector<ConstTensorView> gradients;
  for (const Parameter& parameter : parameters.trained()) {
    gradients.emplace_back(parameter.gradient);
  }
  return std::sqrt(stream.squared_norm(gradients));
}

void Optimizer::apply(Parameters& parameters, double learning_rate, double norm, int64_t step,
                      TrainingStream& stream) const {
  const double scale = config_.clip > 0 ? std::min(1.0, config_.clip / (norm + kClipEpsilon)) : 1.0;
  std::vector<Parameter>& trained = parameters.trained();
  std::vector<AdamWUpdate> updates;
  updates.reserve(trained.size());
  for (size_t i = 0; i < trained.size(); ++i) {
    Parameter& parameter = trained[i];
    const int64_t n = parameter.count();
    AdamWStep options;
    options.learning_rate = static_cast<float>(learning_rate * options_[i].learning_rate_factor);
    options.beta1 = static_cast<float>(config_.beta1);
    options.beta2 = static_cast<float>(config_.beta2);
    options.epsilon = static_cast<float>(config_.epsilon);
    options.weight_decay = static_cast<float>(options_[i].weight_decay);
    options.gradient_scale = static_cast<float>(scale);
    options.step = step;
    updates.push_back({TensorView(parameter.value.data, DType::f32, {n}),
                       TensorView(parameter.gradient.data, DType::f32, {n}),
                       parameter.first_moment.view(), parameter.second_moment.view(), options});
  }
  stream.adamw(updates);
  parameters.refresh(stream);
}

}  // namespace okapi
