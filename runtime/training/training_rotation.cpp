#include "runtime/training/training_rotation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/number_text.h"
#include "runtime/base/sha256.h"

namespace okapi {

namespace {

/// Magnitudes are taken relative to the middle of a sequence (see sequence_rotation.h) and stay
/// within e^40 = 2e17 of it, so that even the product of a query and a key at opposite ends, which
/// causality masks, is a float32.
constexpr double kMostExponent = 40;

std::vector<double> counted(int64_t n) {
  std::vector<double> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), 0.0);
  return positions;
}

/// Magnitudes are functions, not tables; two are taken for equal when they agree at the first
/// positions and at powers of two.
std::string magnitude_key(const Rope& rope, const RopeGeometry& geometry) {
  std::vector<double> probes = counted(256);
  for (double position = 256; position <= 0x1p24; position *= 2) probes.push_back(position);
  std::vector<double> logs[2];
  log_magnitudes(rope, geometry, probes, logs[0], logs[1]);
  Sha256 hash;
  for (const std::vector<double>& log : logs) hash.update(log.data(), log.size() * sizeof(double));
  return hash.hex();
}

/// Moves magnitudes [n, n_pairs] of a sequence from the queries to the keys, so that at its middle
/// the queries have none; products of a query and a key stay as they are. Returns the largest
/// exponent that is left.
double make_relative_to_middle(std::vector<double>& log_q, std::vector<double>& log_k,
                               size_t n_pairs) {
  const auto middle = log_q.begin() + static_cast<int64_t>(log_q.size() / n_pairs / 2 * n_pairs);
  const std::vector<double> reference(middle, middle + static_cast<int64_t>(n_pairs));
  double most = 0;
  for (size_t i = 0; i < log_q.size(); ++i) {
    log_q[i] -= reference[i % n_pairs];
    log_k[i] += reference[i % n_pairs];
    most = std::max({most, std::fabs(log_q[i]), std::fabs(log_k[i])});
  }
  return most;
}

void scale_rows(std::vector<float>& cos, std::vector<float>& sin, const std::vector<double>& logs) {
  for (size_t i = 0; i < logs.size(); ++i) {
    const double factor = std::exp(logs[i]);
    cos[i] = static_cast<float>(cos[i] * factor);
    sin[i] = static_cast<float>(sin[i] * factor);
  }
}

}  // namespace

RopeGeometry TrainingRotation::geometry_of(int64_t layer) const {
  RopeGeometry geometry = geometry_;
  geometry.layer = layer;
  geometry.n_layers = n_layers_;
  return geometry;
}

void TrainingRotation::use(std::shared_ptr<const Rope> rope, const RopeGeometry& geometry) {
  rope_ = std::move(rope);
  geometry_ = geometry;
  group_layers();
}

// Layers with equal tables and magnitudes share one set of rows; rows made before serve again where
// nothing that decides them has changed.
void TrainingRotation::group_layers() {
  std::vector<Group> before = std::move(groups_);
  groups_.clear();
  group_of_layer_.clear();
  for (int64_t layer = 0; layer < n_layers_; ++layer) {
    RopeTable table = RopeTable::evaluate(*rope_, geometry_of(layer));
    std::string key = table.sha256;
    if (rope_->has_magnitudes()) key += magnitude_key(*rope_, geometry_of(layer));
    const auto known = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& group) { return group.key == key; });
    group_of_layer_.push_back(static_cast<int32_t>(known - groups_.begin()));
    if (known != groups_.end()) continue;

    Group group;
    const auto old = std::find_if(before.begin(), before.end(),
                                  [&](const Group& item) { return item.key == key; });
    if (old != before.end()) {
      group = std::move(*old);
      old->key.clear();
    }
    group.layer = layer;
    group.key = std::move(key);
    group.score_scale = static_cast<float>(
        1.0 / (std::sqrt(static_cast<double>(geometry_.head_dim)) * table.attention_temperature));
    group.table = std::move(table);
    groups_.push_back(std::move(group));
  }
}

void TrainingRotation::make_room(Group& group, int64_t n_rows) {
  if (group.queries && group.queries->capacity() >= n_rows) return;
  const auto n_pairs = static_cast<int64_t>(group.table.inv_freq.size());
  group.queries = std::make_shared<RotationRows>(backend_, n_rows, n_pairs);
  group.keys = rope_->has_magnitudes() ? std::make_shared<RotationRows>(backend_, n_rows, n_pairs)
                                       : group.queries;
  group.n_counted = 0;
}

void TrainingRotation::fill(Group& group, int64_t first_row, std::span<const double> positions,
                            Stream& stream) {
  const size_t n_pairs = group.table.inv_freq.size();
  const auto n = static_cast<int64_t>(positions.size());
  RotationFactors factors(group.table);
  if (!rope_->has_magnitudes()) {
    group.queries->fill(factors, first_row, positions, stream);
    return;
  }

  std::vector<float> cos(positions.size() * n_pairs);
  std::vector<float> sin(cos.size());
  factors.fill(positions, cos.data(), sin.data());
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*rope_, geometry_of(group.layer), positions, log_q, log_k);
  const double most = make_relative_to_middle(log_q, log_k, n_pairs);
  if (most > kMostExponent) {
    throw Error(Code::out_of_range,
                "rope.train: the magnitudes of \"" + rope_->canonical() + "\" span e^" +
                    number_text(std::round(2 * most)) + " within " + std::to_string(n) +
                    " tokens, and float32 holds e^" + number_text(2 * kMostExponent) +
                    "; shorter sequences or a larger scale_base would do")
        .in("training")
        .field("rope.train");
  }
  std::vector<float> key_cos = cos;
  std::vector<float> key_sin = sin;
  scale_rows(cos, sin, log_q);
  scale_rows(key_cos, key_sin, log_k);
  group.queries->upload(first_row, n, cos.data(), sin.data(), stream);
  group.keys->upload(first_row, n, key_cos.data(), key_sin.data(), stream);
  stream.synchronize();
}

void TrainingRotation::prepare(std::span<const Row> rows, Stream& stream) {
  stream.synchronize();  // the last batch has been read
  int64_t n_all = 0;
  int64_t n_longest = 0;
  for (const Row& row : rows) {
    n_all += row.n_tokens;
    n_longest = std::max(n_longest, row.n_tokens);
  }

  const bool draws = rope_->has_positions(geometry_.training);
  std::vector<std::vector<double>> drawn;
  if (draws) {
    for (const Row& row : rows) {
      RopeGeometry geometry = geometry_of(0);
      geometry.seed = row.seed;
      drawn.push_back(positions(*rope_, geometry, row.n_tokens));
    }
  }

  sequences_.assign(groups_.size(), {});
  for (size_t index = 0; index < groups_.size(); ++index) {
    Group& group = groups_[index];
    make_room(group, draws ? n_all : n_longest);
    if (!draws && group.n_counted < n_longest) {
      fill(group, 0, counted(n_longest), stream);
      group.n_counted = n_longest;
    }
    int64_t first_row = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t n = rows[i].n_tokens;
      if (draws) fill(group, first_row, drawn[i], stream);
      const int64_t first = draws ? first_row : 0;
      TrainingSequence sequence;
      sequence.first_row = first_row;
      sequence.n_tokens = n;
      sequence.query_rotation = group.queries->view(first, n);
      sequence.key_rotation = group.keys->view(first, n);
      sequence.score_scale = group.score_scale;
      sequences_[index].push_back(sequence);
      first_row += n;
    }
    if (draws) group.n_counted = 0;
  }
}

std::string TrainingRotation::table_sha256() const {
  Sha256 hash;
  for (const int32_t group : group_of_layer_) {
    hash.update(groups_[static_cast<size_t>(group)].table.sha256);
  }
  return hash.hex();
}

uint64_t TrainingRotation::bytes() const {
  uint64_t bytes = 0;
  for (const Group& group : groups_) {
    if (!group.queries) continue;
    const auto rows = static_cast<uint64_t>(group.queries->capacity()) *
                      group.table.inv_freq.size() * 2 * sizeof(float);
    bytes += group.keys == group.queries ? rows : 2 * rows;
  }
  return bytes;
}

}  // namespace okapi
