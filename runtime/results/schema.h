// The tables of a results file, and how a file is known to be one.
#pragma once

#include "runtime/results/sqlite.h"

namespace okapi {

inline constexpr int64_t kResultsSchemaVersion = 2;

/// Makes the tables if the file is empty, and adds those that an older version lacks. (A file that
/// may only be read is taken as it is: what it lacks counts as empty.) Throws data_loss when it is
/// a database of something else, or of a version that this build does not know.
void prepare_schema(Database& database, bool may_write);

}  // namespace okapi
