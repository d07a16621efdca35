#include "runtime/model/rotary/rope.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/number_text.h"
#include "runtime/model/rotary/rope_spec.h"
#include "runtime/plugin_host/plugin_host.h"

namespace okapi {

namespace {

int64_t length_in_force(const RopeGeometry& geometry) {
  return geometry.target_length > 0 ? geometry.target_length : geometry.trained_length;
}

ParamFacts facts_of(const RopeGeometry& geometry) {
  return {geometry.base, geometry.trained_length, length_in_force(geometry), geometry.head_dim,
          geometry.rotary_dim};
}

okapi_rope_geometry c_geometry(const RopeGeometry& geometry) {
  okapi_rope_geometry c{};
  c.struct_size = sizeof c;
  c.phase = geometry.training ? OKAPI_PHASE_TRAIN : OKAPI_PHASE_EVALUATE;
  c.head_dim = static_cast<int32_t>(geometry.head_dim);
  c.rotary_dim = static_cast<int32_t>(geometry.rotary_dim);
  c.layer = static_cast<int32_t>(geometry.layer);
  c.n_layers = static_cast<int32_t>(geometry.n_layers);
  c.base = geometry.base;
  c.trained_length = geometry.trained_length;
  c.target_length = length_in_force(geometry);
  c.seed = geometry.seed;
  return c;
}

// A factor so far from 1 that scores in float32 could overflow is a mistake, not an experiment.
void check_factor(const char* field, double value) {
  constexpr double kMost = 1e6;
  if (value >= 1 / kMost && value <= kMost) return;
  throw Error(Code::invalid_argument, std::string(field) + ": wanted a number from " +
                                          number_text(1 / kMost) + " to " + number_text(kMost) +
                                          " of all schemes together, found " + number_text(value))
      .in("rope")
      .field(field);
}

}  // namespace

void check_geometry(const RopeGeometry& geometry) {
  const auto require = [](bool holds, const char* field, const std::string& problem) {
    if (!holds) {
      throw Error(Code::invalid_argument, std::string(field) + ": " + problem)
          .in("rope")
          .field(field);
    }
  };
  constexpr int64_t kMaxDim = 1 << 20;
  constexpr int64_t kMaxLength = int64_t{1} << 40;
  require(geometry.head_dim >= 2 && geometry.head_dim <= kMaxDim, "head_dim",
          "wanted at least 2, found " + std::to_string(geometry.head_dim));
  require(geometry.rotary_dim >= 2 && geometry.rotary_dim % 2 == 0 &&
              geometry.rotary_dim <= geometry.head_dim,
          "rotary_dim",
          "wanted an even number from 2 to head_dim, found " + std::to_string(geometry.rotary_dim));
  require(std::isfinite(geometry.base) && geometry.base > 1, "base",
          "wanted a finite number greater than 1, found " + number_text(geometry.base));
  require(geometry.trained_length >= 1 && geometry.trained_length <= kMaxLength, "trained_length",
          "wanted at least 1, found " + std::to_string(geometry.trained_length));
  require(geometry.target_length >= 0 && geometry.target_length <= kMaxLength, "target_length",
          "wanted at least 0, found " + std::to_string(geometry.target_length));
  require(geometry.n_layers >= 1 && geometry.n_layers <= kMaxDim, "n_layers",
          "wanted at least 1, found " + std::to_string(geometry.n_layers));
  require(geometry.layer >= 0 && geometry.layer < geometry.n_layers, "layer",
          "wanted 0 to " + std::to_string(geometry.n_layers - 1) + ", found " +
              std::to_string(geometry.layer));
}

std::vector<double> plain_frequencies(const RopeGeometry& geometry) {
  std::vector<double> inv_freq;
  for (int64_t pair = 0; pair < geometry.n_pairs(); ++pair) {
    inv_freq.push_back(std::pow(geometry.base, -2.0 * static_cast<double>(pair) /
                                                   static_cast<double>(geometry.rotary_dim)));
  }
  return inv_freq;
}

std::shared_ptr<const Rope> Rope::parse(std::string_view spec, const PluginHost& host,
                                        const RopeGeometry& model_geometry) {
  check_geometry(model_geometry);
  std::shared_ptr<Rope> rope(new Rope());  // not make_shared: the constructor is private
  rope->model_geometry_ = model_geometry;
  for (const SchemeText& text : parse_rope_spec(spec)) {
    Entry entry;
    entry.scheme = host.rope(text.name);
    entry.given = entry.scheme->parameters().from_texts(text.params);
    const ParamFacts facts = facts_of(model_geometry);
    entry.instance = std::make_shared<const RopeInstance>(
        entry.scheme, entry.scheme->parameters().resolve(entry.given, &facts));
    rope->depends_on_length_ |= entry.scheme->parameters().follows_length(entry.given) ||
                                (entry.instance->flags() & OKAPI_ROPE_DEPENDS_ON_LENGTH) != 0;
    rope->entries_.push_back(std::move(entry));
  }
  rope->check_order();
  rope->check_claims();
  rope->canonical_ = rope->spec_text(model_geometry, /*keeps_auto=*/true);
  static_cast<void>(rope->walk(model_geometry));
  return rope;
}

void Rope::check_order() const {
  for (size_t i = 1; i < entries_.size(); ++i) {
    if ((entries_[i].instance->flags() & OKAPI_ROPE_STARTS_FROM_BASE) == 0) continue;
    throw Error(Code::invalid_argument,
                entries_[i].scheme->component() + ": starts from the base, so it would undo " +
                    entries_[i - 1].scheme->component() + " before it; it must come first")
        .in(entries_[i].scheme->component())
        .field("rope");
  }
  for (const bool training : {false, true}) {
    const RopeScheme* first = nullptr;
    for (const Entry& entry : entries_) {
      if (!entry.instance->has_positions(training)) continue;
      if (first != nullptr) {
        throw Error(Code::invalid_argument, "both " + first->component() + " and " +
                                                entry.scheme->component() + " give positions")
            .in(entry.scheme->component())
            .field("rope");
      }
      first = entry.scheme.get();
    }
  }
}

void Rope::check_claims() const {
  const okapi_rope_geometry geometry = c_geometry(model_geometry_);
  for (const Entry& entry : entries_) entry.instance->check_claims(geometry);
}

std::shared_ptr<const RopeInstance> Rope::instance_at(const Entry& entry,
                                                      const RopeGeometry& geometry) const {
  const ParamFacts facts = facts_of(geometry);
  if (facts == facts_of(model_geometry_)) return entry.instance;
  std::shared_ptr<const ParamValues> params =
      entry.scheme->parameters().resolve(entry.given, &facts);
  if (*params == entry.instance->params()) return entry.instance;
  return std::make_shared<const RopeInstance>(entry.scheme, std::move(params));
}

Rope::Stage Rope::walk(const RopeGeometry& geometry, const Visit& visit) const {
  check_geometry(geometry);
  Stage stage;
  stage.inv_freq = plain_frequencies(geometry);
  okapi_rope_geometry c = c_geometry(geometry);
  for (const Entry& entry : entries_) {
    const std::shared_ptr<const RopeInstance> instance = instance_at(entry, geometry);
    const std::vector<double> so_far = stage.inv_freq;
    c.inv_freq = so_far.data();
    c.rotation_gain = stage.rotation_gain;
    c.attention_temperature = stage.attention_temperature;
    if (visit) visit(*instance, c);

    double gain = 1;
    double temperature = 1;
    instance->table(c, stage.inv_freq, gain, temperature);
    stage.rotation_gain *= gain;
    stage.attention_temperature *= temperature;
  }
  check_factor("rotation_gain", stage.rotation_gain);
  check_factor("attention_temperature", stage.attention_temperature);
  return stage;
}

bool Rope::has_magnitudes() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.instance->has_magnitudes(); });
}

bool Rope::has_positions(bool training) const {
  return std::any_of(entries_.begin(), entries_.end(), [training](const Entry& entry) {
    return entry.instance->has_positions(training);
  });
}

std::string Rope::spec_text(const RopeGeometry& geometry, bool keeps_auto) const {
  std::string text;
  for (const Entry& entry : entries_) {
    const ParamSchema& schema = entry.scheme->parameters();
    const std::shared_ptr<const RopeInstance> instance = instance_at(entry, geometry);
    text += (text.empty() ? "" : " | ") + entry.scheme->name();
    char separator = ':';
    for (const ParamValue& value : instance->params().values()) {
      if (value.source == OKAPI_PARAM_UNSET) continue;
      const std::string& fact = schema.find(value.name)->from_model;
      const bool follows =
          value.source == OKAPI_PARAM_MODEL && (fact == "length_ratio" || fact == "target_length");
      text += separator + value.name + "=" + (keeps_auto && follows ? "auto" : value.spec_text());
      separator = ',';
    }
  }
  return text;
}

std::string Rope::canonical_at(const RopeGeometry& geometry) const {
  return spec_text(geometry, /*keeps_auto=*/false);
}

Json Rope::json_at(const RopeGeometry& geometry) const {
  Json schemes = Json::array();
  for (const Entry& entry : entries_) {
    const std::shared_ptr<const RopeInstance> instance = instance_at(entry, geometry);
    Json params = Json::object();
    for (const ParamValue& value : instance->params().values()) {
      params[value.name] = {{"value", value.json()}, {"source", source_name(value.source)}};
    }
    Json scheme = entry.scheme->identity().json();
    scheme["parameters"] = std::move(params);
    schemes.push_back(std::move(scheme));
  }
  return {{"spec", canonical_},
          {"spec_at_length", canonical_at(geometry)},
          {"depends_on_length", depends_on_length_},
          {"has_magnitudes", has_magnitudes()},
          {"draws_positions_in_training", has_positions(true)},
          {"draws_positions_in_evaluation", has_positions(false)},
          {"schemes", std::move(schemes)}};
}

std::vector<double> positions(const Rope& rope, const RopeGeometry& geometry, int64_t n) {
  std::vector<double> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), 0.0);
  if (!rope.has_positions(geometry.training)) return positions;

  RopeGeometry first_layer = geometry;  // one draw serves all layers
  first_layer.layer = 0;
  static_cast<void>(
      rope.walk(first_layer, [&](const RopeInstance& instance, const okapi_rope_geometry& c) {
        if (instance.has_positions(geometry.training)) instance.positions(c, positions);
      }));
  return positions;
}

void log_magnitudes(const Rope& rope, const RopeGeometry& geometry,
                    std::span<const double> positions, std::vector<double>& log_q,
                    std::vector<double>& log_k) {
  const size_t n_values = positions.size() * static_cast<size_t>(geometry.n_pairs());
  log_q.assign(n_values, 0.0);
  log_k.assign(n_values, 0.0);
  if (!rope.has_magnitudes()) return;

  std::vector<double> more_q(n_values);
  std::vector<double> more_k(n_values);
  static_cast<void>(
      rope.walk(geometry, [&](const RopeInstance& instance, const okapi_rope_geometry& c) {
        if (!instance.has_magnitudes()) return;
        instance.log_magnitude(c, positions, more_q, more_k);
        std::transform(log_q.begin(), log_q.end(), more_q.begin(), log_q.begin(), std::plus<>());
        std::transform(log_k.begin(), log_k.end(), more_k.begin(), log_k.begin(), std::plus<>());
      }));
}

}  // namespace okapi
