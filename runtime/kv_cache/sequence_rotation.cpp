#include "runtime/kv_cache/sequence_rotation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"

namespace okapi {

namespace {

/// Logs of factors relative to the reference stay within this: e^24 = 3e10 leaves float32 ample
/// room for the vectors it multiplies.
constexpr double kMostExponent = 24;

/// Keys whose factor relative to the reference is smaller are left at 0: even the largest query
/// factor leaves them below e^-40 of their size, and subnormal numbers are slow.
constexpr double kLeastExponent = -64;

/// Positions by which the magnitudes of two layers are compared, see group_layers().
std::vector<double> probe_positions() {
  std::vector<double> positions(256);
  std::iota(positions.begin(), positions.end(), 0.0);
  for (double position = 256; position <= 0x1p24; position *= 2) positions.push_back(position);
  return positions;
}

void append_bytes(std::string& key, const std::vector<double>& values) {
  key.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
}

/// cos and sin times exp(log), row by row.
void scale_rows(std::vector<float>& cos, std::vector<float>& sin, const std::vector<double>& logs) {
  for (size_t i = 0; i < logs.size(); ++i) {
    const double factor = logs[i] < kLeastExponent ? 0.0 : std::exp(logs[i]);
    cos[i] = static_cast<float>(cos[i] * factor);
    sin[i] = static_cast<float>(sin[i] * factor);
  }
}

}  // namespace

SequenceRotation::SequenceRotation(RotationSpec spec)
    : spec_(std::move(spec)),
      has_magnitudes_(spec_.rope->has_magnitudes()),
      keys_are_raw_(spec_.raw_keys || has_magnitudes_),
      positions_(spec_.positions) {
  if (!positions_ && spec_.rope->has_positions(spec_.geometry.training)) {
    positions_ = std::make_shared<const std::vector<double>>(
        okapi::positions(*spec_.rope, geometry_of(0), declared_length()));
  }
  group_layers();
}

RopeGeometry SequenceRotation::geometry_of(int64_t layer) const {
  RopeGeometry geometry = spec_.geometry;
  geometry.layer = layer;
  return geometry;
}

std::span<const double> SequenceRotation::positions() const {
  return positions_ ? std::span<const double>(*positions_) : std::span<const double>();
}

// Layers with equal tables and magnitudes share one set of rows. Magnitudes are functions, not
// tables; they are taken for equal when they agree at the first positions and at powers of two.
void SequenceRotation::group_layers() {
  std::vector<std::string> keys;
  for (int64_t layer = 0; layer < spec_.n_layers; ++layer) {
    RopeTable table = RopeTable::evaluate(*spec_.rope, geometry_of(layer));
    std::string key = table.sha256;
    if (has_magnitudes_) key += magnitude_key(layer);

    const auto known = std::find(keys.begin(), keys.end(), key);
    group_of_layer_.push_back(static_cast<int32_t>(known - keys.begin()));
    if (known != keys.end()) continue;

    keys.push_back(std::move(key));
    Group group;
    group.layer = layer;
    group.score_scale =
        static_cast<float>(1.0 / (std::sqrt(static_cast<double>(spec_.geometry.head_dim)) *
                                  table.attention_temperature));
    if (is_counted()) group.counted = spec_.shared->find_or_make(table);
    group.table = std::move(table);
    groups_.push_back(std::move(group));
  }
}

std::string SequenceRotation::magnitude_key(int64_t layer) const {
  static const std::vector<double> kProbes = probe_positions();
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*spec_.rope, geometry_of(layer), kProbes, log_q, log_k);
  std::string key;
  append_bytes(key, log_q);
  append_bytes(key, log_k);
  return key;
}

bool SequenceRotation::gives_the_same_as(const SequenceRotation& other) const {
  const bool same_positions = positions_ == other.positions_ ||
                              (positions_ && other.positions_ && *positions_ == *other.positions_);
  if (!same_positions || group_of_layer_ != other.group_of_layer_) return false;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const RopeTable& mine = groups_[i].table;
    const RopeTable& theirs = other.groups_[i].table;
    if (!(mine == theirs)) return false;
    // Keys are cached raw under magnitudes, but values and deeper layers are not free of them.
    if (has_magnitudes_ &&
        magnitude_key(groups_[i].layer) != other.magnitude_key(other.groups_[i].layer)) {
      return false;
    }
  }
  return true;
}

std::string SequenceRotation::table_sha256() const {
  Sha256 hash;
  for (const int32_t group : group_of_layer_) {
    hash.update(groups_[static_cast<size_t>(group)].table.sha256);
  }
  return hash.hex();
}

std::vector<double> SequenceRotation::positions_of(int64_t first, int64_t n) const {
  std::vector<double> result(static_cast<size_t>(n));
  if (positions_) {
    std::copy_n(positions_->begin() + first, n, result.begin());
  } else {
    std::iota(result.begin(), result.end(), static_cast<double>(first));
  }
  return result;
}

// With the reference at the first token of the step, which prepare() falls back to.
int64_t SequenceRotation::longest_step(int64_t n_cached, int64_t n_new) const {
  if (!has_magnitudes_) return n_new;
  int64_t longest = n_new;
  for (const Group& group : groups_) {
    const auto n_pairs = group.table.inv_freq.size();
    std::vector<double> log_q;
    std::vector<double> log_k;
    log_magnitudes(*spec_.rope, geometry_of(group.layer), positions_of(n_cached, n_new), log_q,
                   log_k);
    for (int64_t row = 1; row < longest; ++row) {
      for (size_t pair = 0; pair < n_pairs; ++pair) {
        const size_t at = static_cast<size_t>(row) * n_pairs + pair;
        if (std::fabs(log_q[at] - log_q[pair]) > kMostExponent ||
            log_k[at] + log_q[pair] > kMostExponent) {
          longest = row;
          break;
        }
      }
    }
  }
  return longest;
}

void SequenceRotation::prepare(int64_t n_cached, int64_t n_new, Stream& stream) {
  for (Group& group : groups_) {
    if (!group.counted) {
      prepare_own_rows(group, n_cached, n_new, stream);
    } else {
      group.counted_rows = group.counted->rows(n_cached + n_new, stream);
    }
  }
}

bool SequenceRotation::reference_serves(const Group& group, int64_t n_cached, int64_t n_new) const {
  if (group.reference.empty()) return false;
  const size_t n_pairs = group.reference.size();
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*spec_.rope, geometry_of(group.layer), positions_of(n_cached, n_new), log_q,
                 log_k);
  for (size_t i = 0; i < log_q.size(); ++i) {
    const double reference = group.reference[i % n_pairs];
    if (std::fabs(log_q[i] - reference) > kMostExponent || log_k[i] + reference > kMostExponent) {
      return false;
    }
  }
  return true;
}

void SequenceRotation::prepare_own_rows(Group& group, int64_t n_cached, int64_t n_new,
                                        Stream& stream) {
  const int64_t n_needed = n_cached + n_new;
  if (has_magnitudes_) {
    // After a truncation rows past the cache may hold another reference's queries: filled again.
    group.n_rows = std::min(group.n_rows, n_cached);
    if (!reference_serves(group, n_cached, n_new)) {
      std::vector<double> unused;
      log_magnitudes(*spec_.rope, geometry_of(group.layer), positions_of(n_cached, 1),
                     group.reference, unused);
      group.n_rows = 0;
    }
  }
  if (group.n_rows >= n_needed) return;
  make_room(group, n_needed, stream);

  // Without magnitudes rows are filled ahead of need; with them the reference may yet move.
  const int64_t n_filled = has_magnitudes_ ? n_needed
                                           : std::min(group.query_rows->capacity(),
                                                      static_cast<int64_t>(positions_->size()));
  fill_rows(group, group.n_rows, n_filled - group.n_rows, stream);
  group.n_rows = n_filled;
}

void SequenceRotation::make_room(Group& group, int64_t n_needed, Stream& stream) const {
  if (group.query_rows && group.query_rows->capacity() >= n_needed) return;
  const auto n_pairs = static_cast<int64_t>(group.table.inv_freq.size());
  const auto grown = [&](const std::shared_ptr<RotationRows>& rows) {
    auto larger =
        std::make_shared<RotationRows>(spec_.backend, rotation_capacity(n_needed), n_pairs);
    if (rows) larger->copy_from(*rows, group.n_rows, stream);
    return larger;
  };
  auto query_rows = grown(group.query_rows);
  auto key_rows = has_magnitudes_ ? grown(group.key_rows) : query_rows;
  stream.synchronize();  // before the old rows go
  group.query_rows = std::move(query_rows);
  group.key_rows = std::move(key_rows);
}

void SequenceRotation::fill_rows(Group& group, int64_t first, int64_t n, Stream& stream) const {
  const size_t n_pairs = group.table.inv_freq.size();
  const std::vector<double> positions = positions_of(first, n);
  RotationFactors factors(group.table);
  if (!has_magnitudes_) {
    group.query_rows->fill(factors, first, positions, stream);
    return;
  }

  std::vector<float> cos(static_cast<size_t>(n) * n_pairs);
  std::vector<float> sin(cos.size());
  factors.fill(positions, cos.data(), sin.data());
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*spec_.rope, geometry_of(group.layer), positions, log_q, log_k);
  for (size_t i = 0; i < log_q.size(); ++i) {
    // Queries of tokens long cached are not asked again; their factors may be beyond any range.
    log_q[i] = std::min(log_q[i] - group.reference[i % n_pairs], kMostExponent);
    log_k[i] += group.reference[i % n_pairs];
  }
  std::vector<float> key_cos = cos;
  std::vector<float> key_sin = sin;
  scale_rows(cos, sin, log_q);
  scale_rows(key_cos, key_sin, log_k);
  group.query_rows->upload(first, n, cos.data(), sin.data(), stream);
  group.key_rows->upload(first, n, key_cos.data(), key_sin.data(), stream);
  stream.synchronize();
}

void SequenceRotation::describe_to(KvSequence& sequence, int64_t index) const {
  const Group& group = groups_[static_cast<size_t>(index)];
  const RotationRows& queries = group.counted ? *group.counted_rows : *group.query_rows;
  const RotationRows& keys = group.counted ? *group.counted_rows : *group.key_rows;
  const int64_t n_after = sequence.n_cached + sequence.n_tokens;

  sequence.query_rotation = queries.view(sequence.n_cached, sequence.n_tokens);
  sequence.keys_are_raw = keys_are_raw_;
  sequence.key_rotation =
      keys_are_raw_ ? keys.view(0, n_after) : keys.view(sequence.n_cached, sequence.n_tokens);
  sequence.score_scale = group.score_scale;
}

std::shared_ptr<SequenceRotation> SequenceRotation::fork() const {
  auto copy = std::make_shared<SequenceRotation>(*this);
  for (Group& group : copy->groups_) {
    group.query_rows = nullptr;
    group.key_rows = nullptr;
    group.n_rows = 0;
    group.reference.clear();
  }
  return copy;
}

}  // namespace okapi
