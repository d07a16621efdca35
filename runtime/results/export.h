// Results for programs that read neither SQLite nor okapi: one CSV table, or one JSON document.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "runtime/base/file.h"
#include "runtime/results/records.h"

namespace okapi {

/// Samples of a run by id, loaded one run at a time: results may be larger than memory.
using SampleLoader = std::function<std::map<int64_t, Sample>(int64_t run_id)>;

using RunExporter =
    std::function<void(const std::vector<StoredRun>&, const SampleLoader&, const FileWriter&)>;

/// RFC 4180 in UTF-8: CRLF, a header line, one row per sample. Attributes and metrics of all runs
/// become columns; a run without one leaves its cells empty.
void write_csv(const std::vector<StoredRun>& runs, const SampleLoader& samples_of,
               const FileWriter& file);

/// An array of runs as in Results::summary(), each with "samples", those with their prompt and its
/// ids.
void write_json(const std::vector<StoredRun>& runs, const SampleLoader& samples_of,
                const FileWriter& file);

}  // namespace okapi
