#include "runtime/model/rotary/explain.h"

#include <cmath>
#include <numbers>

#include "runtime/model/rotary/rope_table.h"

namespace okapi {

namespace {

// A frequency this close to the plain one differs by rounding.
constexpr double kSame = 1e-12;

// Distances at which the decay is told: all up to here, then so many per doubling.
constexpr int64_t kEveryDistance = 16;
constexpr double kPerDoubling = 8;

const char* label_of(double ratio) {
  if (ratio == 0) return "stopped";
  if (std::fabs(ratio - 1) <= kSame) return "kept";
  return ratio < 1 ? "stretched" : "squeezed";
}

Json pairs_json(const RopeTable& table, const RopeGeometry& geometry, int64_t target_length) {
  const std::vector<double> plain = plain_frequencies(geometry);
  Json pairs = Json::array();
  for (size_t pair = 0; pair < plain.size(); ++pair) {
    const double freq = table.inv_freq[pair];
    const double turns_per_token = freq / (2 * std::numbers::pi);
    const double ratio = freq / plain[pair];
    pairs.push_back(
        {{"pair", pair},
         {"inv_freq", freq},
         {"wavelength", freq == 0 ? Json() : Json(1 / turns_per_token)},
         {"turns_trained", turns_per_token * static_cast<double>(geometry.trained_length)},
         {"turns_target", turns_per_token * static_cast<double>(target_length)},
         {"ratio", ratio},
         {"label", label_of(ratio)}});
  }
  return pairs;
}

std::vector<double> distances_up_to(int64_t length) {
  std::vector<double> distances;
  for (int64_t distance = 0; distance <= kEveryDistance && distance < length; ++distance) {
    distances.push_back(static_cast<double>(distance));
  }
  const double step = std::exp2(1 / kPerDoubling);
  for (double distance = kEveryDistance * step; distance < static_cast<double>(length - 1);
       distance *= step) {
    distances.push_back(std::round(distance));
  }
  if (length - 1 > kEveryDistance) distances.push_back(static_cast<double>(length - 1));
  return distances;
}

/// Scores of a query at each distance from a key at 0.
Json decay_json(const Rope& rope, const RopeTable& table, const RopeGeometry& geometry,
                int64_t target_length) {
  const std::vector<double> distances = distances_up_to(target_length);
  std::vector<double> log_q;
  std::vector<double> log_k;  // the key's own, at 0, is the first row
  log_magnitudes(rope, geometry, distances, log_q, log_k);

  const size_t n_pairs = table.inv_freq.size();
  const auto plain_channels = static_cast<double>(geometry.head_dim - geometry.rotary_dim);
  Json decay = Json::array();
  for (size_t i = 0; i < distances.size(); ++i) {
    double sum = 0;
    for (size_t pair = 0; pair < n_pairs; ++pair) {
      const double magnitude = std::exp(log_q[i * n_pairs + pair] + log_k[pair]);
      sum += 2 * magnitude * std::cos(distances[i] * table.inv_freq[pair]);
    }
    const double gain = table.rotation_gain * table.rotation_gain;
    const double score = (gain * sum + plain_channels) / table.attention_temperature;
    decay.push_back({{"distance", static_cast<int64_t>(distances[i])}, {"score", score}});
  }
  return decay;
}

}  // namespace

Json explain(const Rope& rope, const RopeGeometry& geometry) {
  const RopeTable table = RopeTable::evaluate(rope, geometry);
  const int64_t target_length =
      geometry.target_length > 0 ? geometry.target_length : geometry.trained_length;

  Json json = rope.json_at(geometry);
  json["geometry"] = {{"head_dim", geometry.head_dim},  {"rotary_dim", geometry.rotary_dim},
                      {"base", geometry.base},          {"trained_length", geometry.trained_length},
                      {"target_length", target_length}, {"layer", geometry.layer},
                      {"n_layers", geometry.n_layers}};
  json["table"] = {{"sha256", table.sha256},
                   {"rotation_gain", table.rotation_gain},
                   {"attention_temperature", table.attention_temperature}};
  json["pairs"] = pairs_json(table, geometry, target_length);
  json["decay"] = decay_json(rope, table, geometry, target_length);
  return json;
}

}  // namespace okapi
