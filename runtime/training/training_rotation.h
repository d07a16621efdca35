// How the sequences of a training batch are rotated: tables per layer, positions per sequence, and
// the rows of cos and sin on the device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/training.h"
#include "runtime/kv_cache/rotation_rows.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/rotary/rope_table.h"

namespace okapi {

class TrainingRotation {
 public:
  TrainingRotation(std::shared_ptr<Backend> backend, int64_t n_layers)
      : backend_(std::move(backend)), n_layers_(n_layers) {}

  /// Evaluates the rope; `geometry` says the phase, the declared length and the seed.
  void use(std::shared_ptr<const Rope> rope, const RopeGeometry& geometry);

  /// A sequence of the next batch. `seed` is that of its positions, where a scheme draws them.
  struct Row {
    int64_t n_tokens = 0;
    uint64_t seed = 0;
  };

  /// Brings the rows for a batch to the device. What the last call described is gone. Throws
  /// out_of_range when magnitudes (xPos) span more than float32 holds within one sequence.
  void prepare(std::span<const Row> rows, Stream& stream);

  std::span<const std::vector<TrainingSequence>> sequences_of_group() const { return sequences_; }
  std::span<const int32_t> group_of_layer() const { return group_of_layer_; }

  const std::shared_ptr<const Rope>& rope() const { return rope_; }
  const RopeGeometry& geometry() const { return geometry_; }
  std::string table_sha256() const;  ///< of the tables of all layers
  uint64_t bytes() const;

 private:
  /// Layers that are rotated alike.
  struct Group {
    RopeTable table;
    int64_t layer = 0;  ///< the first of them
    float score_scale = 1;
    std::string key;                        ///< all that decides a counted row
    std::shared_ptr<RotationRows> queries;  ///< of the last batch, or counted
    std::shared_ptr<RotationRows> keys;     ///< the same as `queries` without magnitudes
    int64_t n_counted = 0;                  ///< rows of positions 0, 1, 2, ... that are filled
  };

  RopeGeometry geometry_of(int64_t layer) const;
  void group_layers();
  void fill(Group& group, int64_t first_row, std::span<const double> positions, Stream& stream);
  void make_room(Group& group, int64_t n_rows);

  std::shared_ptr<Backend> backend_;
  int64_t n_layers_;
  std::shared_ptr<const Rope> rope_;
  RopeGeometry geometry_;
  std::vector<Group> groups_;
  std::vector<int32_t> group_of_layer_;
  std::vector<std::vector<TrainingSequence>> sequences_;  ///< [n_groups][n_sequences]
};

}  // namespace okapi
