// The configuration of data, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/data/document_maker.h"
#include "runtime/data/windows.h"

namespace okapi {

struct DataConfig {
  // One of these three.
  std::string dataset;
  std::string tokens;
  std::vector<DataConfig> mixture;

  Json params = Json::object();
  uint64_t seed = 0;
  double weight = 1;
  size_t max_memory = 0;
  DocumentOptions documents;
  WindowOptions windows;  ///< its bos_id is 0 where a BOS is wanted, before the tokenizer is known
  double holdout = 0;
  int64_t holdout_windows = 0;  ///< 0: all
  uint64_t split_seed = 0;
};

enum class DataUse {
  windows,  ///< to train on
  tokens,   ///< to write to a file: the keys of windows are refused
};

/// `path` is the configuration's own key in a greater one, "" if there is none. Throws
/// invalid_argument naming the key and, if it is unknown, the nearest known one.
DataConfig read_data_config(const Json& json, uint64_t seed, DataUse use, const std::string& file,
                            const std::string& path);

}  // namespace okapi
