#include "runtime/model/rope_from_config.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/number_text.h"

namespace okapi {

namespace {

constexpr double kDefaultBase = 10000.0;  // of transformers' Llama
constexpr double kMaxNumber = 1e12;
constexpr int64_t kMaxRopeLength = int64_t{1} << 40;

/// "name:key=value,..." in the order given.
class SpecText {
 public:
  explicit SpecText(std::string name) : text_(std::move(name)) {}

  SpecText& add(const std::string& key, const std::string& value) {
    text_ += (first_ ? ":" : ",") + key + "=" + value;
    first_ = false;
    return *this;
  }
  SpecText& add(const std::string& key, double value) { return add(key, number_text(value)); }
  SpecText& add(const std::string& key, int64_t value) { return add(key, std::to_string(value)); }
  SpecText& add(const std::string& key, std::optional<double> value) {
    return value ? add(key, *value) : *this;
  }
  SpecText& add(const std::string& key, const std::vector<double>& values) {
    std::string list;
    for (const double value : values) {
      if (!list.empty()) list += ';';
      list += number_text(value);
    }
    return add(key, list);
  }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
  bool first_ = true;
};

/// What all types need besides their own keys.
struct Context {
  JsonFields& config;  ///< the whole file
  JsonFields& rope;    ///< rope_scaling or rope_parameters
  int64_t head_dim;
  int64_t max_position_embeddings;
  RopeFromConfig& result;
};

/// A factor need not equal a ratio of lengths (Llama 3.1: 8 beside a ratio of 16), so it is never
/// compared with one.
double read_factor(Context& context) { return context.rope.number("factor", 1.0, kMaxNumber); }

/// The length before scaling. Phi-3 and its kin write it beside the rope's keys, and transformers
/// then prefers that; two different values are an error here. Absent, it is the model's own length.
int64_t read_original_length(Context& context) {
  const std::string key = "original_max_position_embeddings";
  const std::optional<int64_t> inside = context.rope.maybe_integer(key, 1, kMaxRopeLength);
  const std::optional<int64_t> beside = context.config.maybe_integer(key, 1, kMaxRopeLength);
  if (inside && beside && *inside != *beside) {
    context.rope.fail(key, std::to_string(*inside) + " contradicts " + key + " (" +
                               std::to_string(*beside) + ") beside it");
  }
  const int64_t length = inside.value_or(beside.value_or(context.max_position_embeddings));
  context.result.trained_length = length;
  return length;
}

/// yarn and longrope infer an unset factor from the two lengths.
double factor_or_ratio(Context& context, std::optional<double> factor, int64_t original_length) {
  const double scale = factor.value_or(static_cast<double>(context.max_position_embeddings) /
                                       static_cast<double>(original_length));
  if (scale < 1.0) {
    context.rope.fail("original_max_position_embeddings",
                      std::to_string(original_length) + " exceeds max_position_embeddings (" +
                          std::to_string(context.max_position_embeddings) +
                          "), and there is no factor");
  }
  return scale;
}

std::string linear(Context& context) {
  return SpecText("linear").add("scale", read_factor(context)).text();
}

/// transformers measures the input against max_position_embeddings, whatever original length is
/// written beside; such a length may therefore only repeat it.
std::string dynamic(Context& context) {
  const double scale = read_factor(context);
  const std::string key = "original_max_position_embeddings";
  const std::optional<int64_t> original = context.rope.maybe_integer(key, 1, kMaxRopeLength);
  if (original && *original != context.max_position_embeddings) {
    context.rope.fail(key, "dynamic scales from max_position_embeddings (" +
                               std::to_string(context.max_position_embeddings) +
                               "), which contradicts " + std::to_string(*original));
  }
  return SpecText("dynamic_ntk")
      .add("scale", scale)
      .add("trained_length", context.max_position_embeddings)
      .text();
}

/// transformers reads 0 as unset here.
std::optional<double> read_beta(Context& context, const std::string& key) {
  const std::optional<double> beta = context.rope.maybe_number(key, 0.0, kMaxNumber);
  if (!beta || *beta > 0.0) return beta;
  context.result.ignored_keys.push_back(context.rope.path_of(key));
  return std::nullopt;
}

/// DeepSeek's way to say the gain, of use only when both keys are there and no attention_factor is.
std::optional<double> read_mscale_gain(Context& context, double scale, bool has_attention_factor) {
  const std::optional<double> all_dim =
      context.rope.maybe_number("mscale_all_dim", 0.0, kMaxNumber);
  const std::optional<double> mscale = context.rope.maybe_number("mscale", 0.0, kMaxNumber);
  if (!has_attention_factor && mscale.value_or(0.0) != 0.0 && all_dim.value_or(0.0) != 0.0) {
    const double log_scale = std::log(scale);
    return (0.1 * *mscale * log_scale + 1.0) / (0.1 * *all_dim * log_scale + 1.0);
  }
  if (mscale) context.result.ignored_keys.push_back(context.rope.path_of("mscale"));
  if (all_dim) context.result.ignored_keys.push_back(context.rope.path_of("mscale_all_dim"));
  return std::nullopt;
}

std::string yarn(Context& context) {
  // The key must be there, as in transformers; null means the ratio of the lengths.
  if (!context.rope.contains("factor")) read_factor(context);
  const int64_t original_length = read_original_length(context);
  const double scale = factor_or_ratio(
      context, context.rope.maybe_number("factor", 1.0, kMaxNumber), original_length);

  const std::optional<double> beta_fast = read_beta(context, "beta_fast");
  const std::optional<double> beta_slow = read_beta(context, "beta_slow");
  if (beta_fast.value_or(32.0) <= beta_slow.value_or(1.0)) {
    context.rope.fail("beta_fast", number_text(beta_fast.value_or(32.0)) +
                                       " must exceed beta_slow (" +
                                       number_text(beta_slow.value_or(1.0)) + ")");
  }

  const bool truncate = context.rope.boolean_or("truncate", true);
  const std::optional<double> attention_factor =
      context.rope.maybe_number("attention_factor", std::numeric_limits<double>::min(), kMaxNumber);
  const std::optional<double> mscale_gain =
      read_mscale_gain(context, scale, attention_factor.has_value());

  SpecText spec("yarn");
  spec.add("scale", scale).add("trained_length", original_length);
  spec.add("beta_fast", beta_fast).add("beta_slow", beta_slow);
  if (!truncate) spec.add("round", std::string("false"));
  spec.add("rotation_gain", attention_factor ? attention_factor : mscale_gain);
  return spec.text();
}

std::vector<double> read_pair_factors(Context& context, const std::string& key) {
  std::vector<double> factors =
      context.rope.numbers(key, std::numeric_limits<double>::min(), kMaxNumber);
  const auto n_pairs = static_cast<size_t>(context.head_dim / 2);
  if (factors.size() != n_pairs) {
    context.rope.fail(key, "wanted " + std::to_string(n_pairs) +
                               " numbers (half of head_dim), found " +
                               std::to_string(factors.size()));
  }
  return factors;
}

std::string longrope(Context& context) {
  const int64_t original_length = read_original_length(context);
  const double scale = factor_or_ratio(
      context, context.rope.maybe_number("factor", 1.0, kMaxNumber), original_length);
  return SpecText("longrope")
      .add("scale", scale)
      .add("trained_length", original_length)
      .add("short", read_pair_factors(context, "short_factor"))
      .add("long", read_pair_factors(context, "long_factor"))
      .add("rotation_gain", context.rope.maybe_number(
                                "attention_factor", std::numeric_limits<double>::min(), kMaxNumber))
      .text();
}

std::string llama3(Context& context) {
  const double scale = read_factor(context);
  const double smallest = std::numeric_limits<double>::min();
  const double low = context.rope.number("low_freq_factor", smallest, kMaxNumber);
  const double high = context.rope.number("high_freq_factor", smallest, kMaxNumber);
  if (high <= low) {
    context.rope.fail("high_freq_factor", number_text(high) + " must exceed low_freq_factor (" +
                                              number_text(low) + ")");
  }
  return SpecText("llama3")
      .add("scale", scale)
      .add("trained_length", read_original_length(context))
      .add("low_freq_factor", low)
      .add("high_freq_factor", high)
      .text();
}

/// Rotates the first share of the pairs, each at its plain frequency over the factor, and stops the
/// rest: a truncation whose thresholds stand between the last kept frequency and the next.
std::string proportional(Context& context) {
  const double share = context.rope.number_or("partial_rotary_factor", 0.0, 1.0, 1.0);
  const double scale = context.rope.number_or("factor", 1.0, kMaxNumber, 1.0);
  const auto n_pairs = context.head_dim / 2;
  // As transformers: int(share * head_dim // 2).
  const auto n_kept =
      static_cast<int64_t>(std::floor(share * static_cast<double>(context.head_dim) / 2.0));
  const std::string scaling = SpecText("linear").add("scale", scale).text();
  if (n_kept == n_pairs) return scaling;

  const double step = std::pow(context.result.base, -2.0 / static_cast<double>(context.head_dim));
  const double first_stopped = std::pow(step, static_cast<double>(n_kept));
  const double gap = 1.0 / step;
  return SpecText("truncated")
             .add("a", first_stopped * std::pow(gap, 1.0 / 3.0))
             .add("b", first_stopped * std::pow(gap, 2.0 / 3.0))
             .add("rho", 0.0)
             .text() +
         " | " + scaling;
}

std::string okapi_spec(Context& context) {
  const std::string spec = context.rope.text("spec");
  if (spec.empty()) context.rope.fail("spec", "wanted a scheme, found an empty string");
  if (context.rope.has("original_max_position_embeddings")) read_original_length(context);
  return spec;
}

std::string read_type(JsonFields& rope) {
  const std::optional<std::string> type = rope.maybe_text("rope_type");
  const std::optional<std::string> old_name = rope.maybe_text("type");
  if (type && old_name && *type != *old_name) {
    rope.fail("rope_type", *type + " contradicts type (" + *old_name + ") beside it");
  }
  return type.value_or(old_name.value_or("default"));
}

std::string spec_of_type(const std::string& type, Context& context) {
  if (type == "default") return "plain";
  if (type == "linear") return linear(context);
  if (type == "dynamic") return dynamic(context);
  if (type == "yarn") return yarn(context);
  if (type == "longrope") return longrope(context);
  if (type == "llama3") return llama3(context);
  if (type == "proportional") return proportional(context);
  if (type == "okapi") return okapi_spec(context);
  const std::string key =
      context.rope.path_of(context.rope.has("rope_type") ? "rope_type" : "type");
  throw Error(Code::unimplemented, key +
                                       ": wanted default, linear, dynamic, yarn, longrope, llama3, "
                                       "proportional or okapi, found " +
                                       type)
      .in(context.rope.place().component)
      .field(key)
      .at(context.rope.place().file);
}

/// The key that holds the scheme: either spelling, or both when they say the same. Empty: none.
std::string find_rope_key(JsonFields& config) {
  const Json* scaling = config.value("rope_scaling");
  const Json* parameters = config.value("rope_parameters");
  if (scaling != nullptr && parameters != nullptr && *scaling != *parameters) {
    config.fail("rope_scaling", "contradicts rope_parameters beside it");
  }
  return parameters != nullptr ? "rope_parameters" : scaling != nullptr ? "rope_scaling" : "";
}

}  // namespace

RopeFromConfig rope_from_config(JsonFields& config, int64_t head_dim,
                                int64_t max_position_embeddings) {
  RopeFromConfig result;
  result.trained_length = max_position_embeddings;

  // Above 1: the logarithm of the base divides in several schemes.
  const double smallest_base = std::nextafter(1.0, 2.0);
  const std::optional<double> base_beside =
      config.maybe_number("rope_theta", smallest_base, kMaxNumber);

  const std::string key = find_rope_key(config);
  if (key.empty()) {
    result.spec = "plain";
    result.base = base_beside.value_or(kDefaultBase);
    return result;
  }

  JsonFields rope = config.object(key);
  const std::optional<double> base_inside =
      rope.maybe_number("rope_theta", smallest_base, kMaxNumber);
  if (base_inside && base_beside && *base_inside != *base_beside) {
    rope.fail("rope_theta", number_text(*base_inside) + " contradicts rope_theta (" +
                                number_text(*base_beside) + ") beside it");
  }
  result.base = base_inside.value_or(base_beside.value_or(kDefaultBase));

  const std::string type = read_type(rope);
  Context context{config, rope, head_dim, max_position_embeddings, result};
  result.spec = spec_of_type(type, context);

  // Every other type rotates whole heads in a Llama.
  if (type != "proportional" && rope.number_or("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
    const std::string path = rope.path_of("partial_rotary_factor");
    throw Error(Code::unimplemented, path + ": wanted 1 (rotation of whole heads), found " +
                                         describe_json(*rope.value("partial_rotary_factor")))
        .in(rope.place().component)
        .field(path)
        .at(rope.place().file);
  }

  const std::vector<std::string> unread = rope.unread();
  if (!unread.empty()) rope.fail(unread.front(), "unknown key for rope type " + type);
  return result;
}

}  // namespace okapi
