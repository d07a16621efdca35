// Published records: one JSON object per line, plain or compressed with gzip.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <okapi/plugin/dataset.hpp>

namespace lines {

/// The first `n_records` (-1: all) of LongChat's fields: `prompt` and `expected_number`, which
/// every record must have, `random_idx`, `num_lines`, `token_size`, `correct_line` and any others,
/// as they are. Throws okapi::Failure naming the file and the line.
std::vector<okapi::Record> read_records(const std::string& path, int64_t n_records);

}  // namespace lines
