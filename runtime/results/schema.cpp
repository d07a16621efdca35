#include "runtime/results/schema.h"

#include <string>

#include "runtime/base/error.h"

namespace okapi {

namespace {

constexpr int64_t kApplicationId = 0x6F6B6170;  // "okap": what file(1) and others know the file by

// Column names are the public interface: other programs read this file. Lists and objects are JSON
// text, so that SQLite's json_each() reads them. New tables may come with a new version; columns
// stay.
constexpr const char* kTables = R"sql(
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,    -- of identity: the run's name
  identity TEXT NOT NULL,         -- JSON object: all that decides the numbers
  info TEXT NOT NULL,             -- JSON object: file names, device, version of okapi
  group_by TEXT NOT NULL,         -- JSON array of attribute names
  n_items INTEGER NOT NULL,       -- planned; -1: endless
  created_at TEXT NOT NULL        -- UTC, ISO 8601
);
CREATE TABLE metrics (            -- what a run measures
  run_id INTEGER NOT NULL REFERENCES runs(id),
  ordinal INTEGER NOT NULL,       -- 0: the one to print
  name TEXT NOT NULL,
  aggregate TEXT NOT NULL,        -- rate, mean, weighted_mean or sum
  better INTEGER NOT NULL,        -- 1: higher is; -1: lower; 0: neither
  help TEXT NOT NULL,
  PRIMARY KEY (run_id, ordinal)
);
CREATE TABLE prompts (            -- shared by all samples that asked the same
  id INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,    -- of the bytes, a zero byte, the ids as little-endian int32
  text TEXT NOT NULL,
  token_ids TEXT NOT NULL         -- JSON array, BOS included
);
CREATE TABLE samples (
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES runs(id),
  item INTEGER NOT NULL,
  key TEXT NOT NULL,
  prompt_id INTEGER NOT NULL REFERENCES prompts(id),
  attributes TEXT NOT NULL,       -- JSON object: length, depth, expected, ...
  declared_length INTEGER NOT NULL, -- the scheme was evaluated at; -1: at every length on the way
  table_sha256 TEXT NOT NULL,     -- of the scheme's table
  output_ids TEXT NOT NULL,       -- JSON array
  output TEXT NOT NULL,
  stop_reason TEXT NOT NULL,
  parsed TEXT,
  seconds REAL NOT NULL,
  finished_at TEXT NOT NULL,
  UNIQUE (run_id, item)
);
CREATE TABLE sample_values (
  sample_id INTEGER NOT NULL REFERENCES samples(id),
  metric TEXT NOT NULL,
  value REAL NOT NULL,            -- a flag is 0 or 1
  weight REAL NOT NULL,
  PRIMARY KEY (sample_id, metric)
) WITHOUT ROWID;
)sql";

// Since version 2: the curves of training runs.
constexpr const char* kTrainingTables = R"sql(
CREATE TABLE training_runs (
  id INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,    -- of identity: the run's name
  identity TEXT NOT NULL,         -- JSON object: all that decides the numbers
  info TEXT NOT NULL,             -- JSON object: file names, device, whole configuration
  created_at TEXT NOT NULL        -- UTC, ISO 8601
);
CREATE TABLE training_steps (
  run_id INTEGER NOT NULL REFERENCES training_runs(id),
  step INTEGER NOT NULL,          -- from 1
  loss REAL,                      -- nats per learned token, before the step
  gradient_norm REAL,             -- before clipping
  learning_rate REAL NOT NULL,
  n_tokens INTEGER NOT NULL,
  n_learned INTEGER NOT NULL,     -- tokens that carried loss
  seconds REAL NOT NULL,
  rope TEXT NOT NULL,             -- in force at this step
  PRIMARY KEY (run_id, step)
) WITHOUT ROWID;
CREATE TABLE training_evaluations ( -- loss on held-out windows, by position
  run_id INTEGER NOT NULL REFERENCES training_runs(id),
  step INTEGER NOT NULL,          -- steps done before
  first_position INTEGER NOT NULL,
  last_position INTEGER NOT NULL, -- inclusive
  loss REAL,                      -- nats per token
  n_tokens INTEGER NOT NULL,
  rope TEXT NOT NULL,             -- evaluated with
  PRIMARY KEY (run_id, step, first_position)
) WITHOUT ROWID;
)sql";

constexpr int64_t kOldestVersion = 1;

[[noreturn]] void refuse(const Database& database, const std::string& why) {
  throw Error(Code::data_loss, why).in("results").at(database.path());
}

void make_tables(Database& database) {
  Transaction transaction(database, Transaction::Kind::write);
  // Another process may have made them while this one waited for the lock.
  if (database.query_integer("SELECT count(*) FROM sqlite_schema") == 0) {
    database.execute(kTables);
    database.execute(kTrainingTables);
    database.execute(("PRAGMA application_id = " + std::to_string(kApplicationId)).c_str());
    database.execute(("PRAGMA user_version = " + std::to_string(kResultsSchemaVersion)).c_str());
  }
  transaction.commit();
}

/// Adds what later versions brought. Two processes may try at once: the second finds it done.
void upgrade(Database& database) {
  Transaction transaction(database, Transaction::Kind::write);
  if (database.query_integer("PRAGMA user_version") == 1) {
    database.execute(kTrainingTables);
    database.execute("PRAGMA user_version = 2");
  }
  transaction.commit();
}

}  // namespace

void prepare_schema(Database& database, bool may_write) {
  const bool is_empty = database.query_integer("SELECT count(*) FROM sqlite_schema") == 0 &&
                        database.query_integer("PRAGMA application_id") == 0;
  if (is_empty && may_write) make_tables(database);

  if (database.query_integer("PRAGMA application_id") != kApplicationId) {
    refuse(database, "wanted a results file of okapi, found a database of something else");
  }
  const int64_t version = database.query_integer("PRAGMA user_version");
  if (version < kOldestVersion || version > kResultsSchemaVersion) {
    refuse(database, "wanted results of version " + std::to_string(kOldestVersion) + " to " +
                         std::to_string(kResultsSchemaVersion) + ", found version " +
                         std::to_string(version));
  }
  const int64_t n_tables = database.query_integer(
      "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN "
      "('runs', 'metrics', 'prompts', 'samples', 'sample_values')");
  if (n_tables != 5) refuse(database, "the results file lacks some of its tables");
  if (version < kResultsSchemaVersion && may_write) upgrade(database);
}

}  // namespace okapi
