// Training curves in the results file.
#include "runtime/results/training_records.h"

#include "runtime/base/error.h"
#include "runtime/base/json_depth.h"
#include "runtime/base/sha256.h"
#include "runtime/base/utc.h"
#include "runtime/results/results.h"
#include "runtime/results/sqlite.h"

namespace okapi {

namespace {

/// Throws Json::exception for what is not JSON, or nested as nothing that was written here.
Json stored_json(const std::string& text) { return Json::parse(nests_within(text) ? text : ""); }

Json number_or_null(const Statement& row, int column) {
  return row.is_null(column) ? Json(nullptr) : Json(row.real(column));
}

Json read_steps(Database& database, int64_t run_id) {
  Json steps = Json::array();
  Statement rows(database,
                 "SELECT step, loss, gradient_norm, learning_rate, n_tokens, n_learned, seconds, "
                 "rope FROM training_steps WHERE run_id = ? ORDER BY step");
  rows.bind(run_id);
  while (rows.step()) {
    steps.push_back({{"step", rows.integer(0)},
                     {"loss", number_or_null(rows, 1)},
                     {"gradient_norm", number_or_null(rows, 2)},
                     {"learning_rate", rows.real(3)},
                     {"n_tokens", rows.integer(4)},
                     {"n_learned", rows.integer(5)},
                     {"seconds", rows.real(6)},
                     {"rope", rows.text(7)}});
  }
  return steps;
}

Json read_evaluations(Database& database, int64_t run_id) {
  Json evaluations = Json::array();
  Statement rows(database,
                 "SELECT step, rope, first_position, last_position, loss, n_tokens FROM "
                 "training_evaluations WHERE run_id = ? ORDER BY step, first_position");
  rows.bind(run_id);
  while (rows.step()) {
    if (evaluations.empty() || evaluations.back()["step"] != rows.integer(0)) {
      evaluations.push_back(
          {{"step", rows.integer(0)}, {"rope", rows.text(1)}, {"buckets", Json::array()}});
    }
    evaluations.back()["buckets"].push_back({{"first_position", rows.integer(2)},
                                             {"last_position", rows.integer(3)},
                                             {"loss", number_or_null(rows, 4)},
                                             {"n_tokens", rows.integer(5)}});
  }
  return evaluations;
}

}  // namespace

std::string TrainingRun::sha256() const {
  const std::string text = identity.dump();
  return sha256_of(text.data(), text.size());
}

int64_t Results::begin_training(const TrainingRun& run) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::write);
  const std::string sha256 = run.sha256();
  Statement find(*database_, "SELECT id FROM training_runs WHERE sha256 = ?");
  find.bind(sha256);
  if (find.step()) {
    const int64_t id = find.integer(0);
    transaction.commit();
    return id;
  }
  Statement insert(*database_,
                   "INSERT INTO training_runs (sha256, identity, info, created_at) "
                   "VALUES (?, ?, ?, ?)");
  insert.bind(sha256).bind(run.identity.dump()).bind(run.info.dump()).bind(utc_now()).run();
  const int64_t id = database_->last_row_id();
  transaction.commit();
  return id;
}

void Results::add_training(int64_t run_id, std::span<const TrainingStep> steps,
                           std::span<const TrainingEvaluation> evaluations) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::write);
  for (const TrainingStep& step : steps) {
    Statement add(*database_,
                  "INSERT OR REPLACE INTO training_steps (run_id, step, loss, gradient_norm, "
                  "learning_rate, n_tokens, n_learned, seconds, rope) "
                  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    add.bind(run_id)
        .bind(step.step)
        .bind(step.loss)
        .bind(step.gradient_norm)
        .bind(step.learning_rate)
        .bind(step.n_tokens)
        .bind(step.n_learned)
        .bind(step.seconds)
        .bind(step.rope)
        .run();
  }
  for (const TrainingEvaluation& evaluation : evaluations) {
    for (const LossBucket& bucket : evaluation.buckets) {
      Statement add(*database_,
                    "INSERT OR REPLACE INTO training_evaluations (run_id, step, first_position, "
                    "last_position, loss, n_tokens, rope) VALUES (?, ?, ?, ?, ?, ?, ?)");
      add.bind(run_id)
          .bind(evaluation.step)
          .bind(bucket.first_position)
          .bind(bucket.last_position)
          .bind(bucket.loss)
          .bind(bucket.n_tokens)
          .bind(evaluation.rope)
          .run();
    }
  }
  transaction.commit();
}

void Results::forget_training_after(int64_t run_id, int64_t step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::write);
  for (const char* sql : {"DELETE FROM training_steps WHERE run_id = ? AND step > ?",
                          "DELETE FROM training_evaluations WHERE run_id = ? AND step > ?"}) {
    Statement(*database_, sql).bind(run_id).bind(step).run();
  }
  transaction.commit();
}

Json Results::training() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::read);
  Json runs = Json::array();
  const bool has_tables =
      database_->query_integer(
          "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'training_runs'") ==
      1;
  if (!has_tables) return runs;  // an older file, opened to be read

  std::vector<std::pair<int64_t, Json>> found;
  Statement rows(*database_,
                 "SELECT id, identity, info, created_at FROM training_runs ORDER BY id");
  while (rows.step()) {
    try {
      found.emplace_back(rows.integer(0), Json{{"identity", stored_json(rows.text(1))},
                                               {"info", stored_json(rows.text(2))},
                                               {"created_at", rows.text(3)}});
    } catch (const Json::exception&) {
      throw Error(Code::data_loss, "a stored JSON text of a training run is damaged")
          .in("results")
          .at(path_.string());
    }
  }
  for (auto& [id, run] : found) {
    run["steps"] = read_steps(*database_, id);
    run["evaluations"] = read_evaluations(*database_, id);
    runs.push_back(std::move(run));
  }
  return runs;
}

}  // namespace okapi
