#include "runtime/plugin_host/conformance_params.h"

#include <algorithm>
#include <vector>

namespace okapi {

namespace {

constexpr int32_t kBos = 1;
constexpr int32_t kEos = 2;
constexpr int32_t kFirstByte = 3;

/// A number the limits allow: 1 if they do, else one near a bound.
double example_number(const ParamSpec& spec) {
  const double low = spec.min     ? *spec.min
                     : spec.above ? *spec.above + 1
                                  : std::min(1.0, spec.max.value_or(1.0));
  const double at_least = std::max(low, 1.0);
  if (spec.max && at_least > *spec.max) return *spec.max;
  if (spec.below && at_least >= *spec.below) return (low + *spec.below) / 2;
  return at_least;
}

Json example_value(const ParamSpec& spec, size_t list_length) {
  switch (spec.type) {
    case OKAPI_PARAM_INTEGER:
      return static_cast<int64_t>(example_number(spec));
    case OKAPI_PARAM_BOOLEAN:
      return false;
    case OKAPI_PARAM_ENUM:
      return spec.choices.front();
    case OKAPI_PARAM_LIST:
      return std::vector<double>(list_length, example_number(spec));
    case OKAPI_PARAM_STRING:
      return "example";
    default:
      return example_number(spec);
  }
}

}  // namespace

Json example_params(const ParamSchema& schema, size_t list_length) {
  Json given = Json::object();
  for (const ParamSpec& spec : schema.specs()) {
    if (spec.is_required) given[spec.name] = example_value(spec, list_length);
  }
  return given;
}

std::shared_ptr<const TokenizerFunctions> byte_tokenizer() {
  TokenizerFunctions tokenizer;
  tokenizer.vocab_size = kFirstByte + 256;
  tokenizer.bos_id = kBos;
  tokenizer.eos_id = kEos;
  tokenizer.encode = [](std::string_view text, bool add_bos) {
    std::vector<int32_t> ids;
    if (add_bos) ids.push_back(kBos);
    for (const char c : text) ids.push_back(kFirstByte + static_cast<unsigned char>(c));
    return ids;
  };
  tokenizer.decode = [](std::span<const int32_t> ids) {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= kFirstByte) text += static_cast<char>(id - kFirstByte);
    }
    return text;
  };
  return std::make_shared<const TokenizerFunctions>(std::move(tokenizer));
}

}  // namespace okapi
