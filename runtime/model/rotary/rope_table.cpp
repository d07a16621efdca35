#include "runtime/model/rotary/rope_table.h"

#include <algorithm>
#include <bit>

#include "runtime/base/sha256.h"

namespace okapi {

RopeTable RopeTable::evaluate(const Rope& rope, const RopeGeometry& geometry) {
  static_assert(std::endian::native == std::endian::little, "the hash is of little-endian doubles");
  Rope::Stage stage = rope.walk(geometry);
  RopeTable table;
  table.inv_freq = std::move(stage.inv_freq);
  table.rotation_gain = stage.rotation_gain;
  table.attention_temperature = stage.attention_temperature;

  Sha256 hash;
  hash.update(table.inv_freq.data(), table.inv_freq.size() * sizeof(double));
  hash.update(&table.rotation_gain, sizeof(double));
  hash.update(&table.attention_temperature, sizeof(double));
  table.sha256 = hash.hex();
  return table;
}

RopeTables RopeTables::evaluate(const Rope& rope, const RopeGeometry& geometry, int64_t n_layers) {
  RopeTables tables;
  RopeGeometry of_layer = geometry;
  of_layer.n_layers = n_layers;
  for (of_layer.layer = 0; of_layer.layer < n_layers; ++of_layer.layer) {
    RopeTable table = RopeTable::evaluate(rope, of_layer);
    const auto same = std::find(tables.unique.begin(), tables.unique.end(), table);
    tables.of_layer.push_back(static_cast<int32_t>(same - tables.unique.begin()));
    if (same == tables.unique.end()) tables.unique.push_back(std::move(table));
  }
  return tables;
}

std::string RopeTables::sha256() const {
  Sha256 hash;
  for (const int32_t index : of_layer) hash.update(unique[static_cast<size_t>(index)].sha256);
  return hash.hex();
}

}  // namespace okapi
