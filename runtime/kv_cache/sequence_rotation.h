// How one sequence is rotated: which table each layer has, which position each token, and whether
// keys are cached rotated or raw.
//
// Magnitudes (xPos) are factors exp(log) on each pair of a query or key, and leave the range of
// float32 at long contexts, while their product in a score does not. So keys are cached raw, and
// the factors are taken relative to a reference, the query's log r of a token near the ones
// computed now: query m gets exp(lq[m] - r), key n gets exp(lk[n] + r); the product is exp(lq[m] +
// lk[n]) as ever.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "runtime/kv_cache/rotation_rows.h"
#include "runtime/model/rotary/rope.h"

namespace okapi {

struct RotationSpec {
  std::shared_ptr<Backend> backend;
  RotationCache* shared = nullptr;  ///< outlives the rotation
  std::shared_ptr<const Rope> rope;
  RopeGeometry geometry;  ///< its target length is the declared length; layer 0
  int64_t n_layers = 1;
  bool raw_keys = false;
  /// Of token i, instead of what the scheme or counting says; null: not given.
  std::shared_ptr<const std::vector<double>> positions;
};

class SequenceRotation {
 public:
  explicit SequenceRotation(RotationSpec spec);

  /// Whether a cache filled under the other is good under this one.
  bool gives_the_same_as(const SequenceRotation& other) const;

  int64_t declared_length() const { return spec_.geometry.target_length; }
  bool keys_are_raw() const { return keys_are_raw_; }
  int64_t n_groups() const { return static_cast<int64_t>(groups_.size()); }
  std::span<const int32_t> group_of_layer() const { return group_of_layer_; }  ///< [n_layers]

  /// Positions given by the caller or the scheme; empty: 0, 1, 2, ...
  std::span<const double> positions() const;

  /// SHA-256 of the tables of all layers.
  std::string table_sha256() const;

  /// How many of the `n_new` tokens after `n_cached` one pass may take; at least 1. Magnitudes may
  /// span more than float32 holds.
  int64_t longest_step(int64_t n_cached, int64_t n_new) const;

  /// Brings the rows for such a pass to the device.
  void prepare(int64_t n_cached, int64_t n_new, Stream& stream);

  /// Fills in how the sequence is rotated in layers of `group`, after prepare(n_cached, n_tokens).
  void describe_to(KvSequence& sequence, int64_t group) const;

  /// The same rotation with rows of its own, for another session.
  std::shared_ptr<SequenceRotation> fork() const;

 private:
  /// Layers that are rotated alike.
  struct Group {
    RopeTable table;
    int64_t layer = 0;  ///< the first of them
    float score_scale = 1;
    std::shared_ptr<CountedRotation> counted;  ///< positions 0, 1, 2, ... without magnitudes

    std::shared_ptr<const RotationRows> counted_rows;  ///< of `counted`, as last prepared
    std::shared_ptr<RotationRows> query_rows;          ///< otherwise: rows of this sequence
    std::shared_ptr<RotationRows> key_rows;  ///< the same as query_rows without magnitudes
    int64_t n_rows = 0;                      ///< filled
    std::vector<double> reference;           ///< [D/2] r above; empty: none yet
  };

  bool is_counted() const { return positions_ == nullptr && !has_magnitudes_; }
  RopeGeometry geometry_of(int64_t layer) const;
  std::vector<double> positions_of(int64_t first, int64_t n) const;
  void group_layers();
  std::string magnitude_key(int64_t layer) const;
  void prepare_own_rows(Group& group, int64_t n_cached, int64_t n_new, Stream& stream);
  bool reference_serves(const Group& group, int64_t n_cached, int64_t n_new) const;
  void make_room(Group& group, int64_t n_needed, Stream& stream) const;
  void fill_rows(Group& group, int64_t first, int64_t n, Stream& stream) const;

  RotationSpec spec_;
  bool has_magnitudes_;
  bool keys_are_raw_;
  std::shared_ptr<const std::vector<double>> positions_;  ///< null: counted
  std::vector<Group> groups_;
  std::vector<int32_t> group_of_layer_;
};

}  // namespace okapi
