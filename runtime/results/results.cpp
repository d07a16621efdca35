#include "runtime/results/results.h"

#include <system_error>

#include "runtime/base/error.h"
#include "runtime/base/json_depth.h"
#include "runtime/base/utc.h"
#include "runtime/results/aggregate.h"
#include "runtime/results/schema.h"
#include "runtime/results/sqlite.h"

namespace okapi {

namespace {

using OrderedJson = nlohmann::ordered_json;

/// JSON that this file holds was written by us; if it is not what we wrote, the file is damaged.
template <typename Value>
Value stored(const std::string& text, const std::string& file) {
  try {
    return OrderedJson::parse(nests_within(text) ? text : "").get<Value>();
  } catch (const OrderedJson::exception&) {
    throw Error(Code::data_loss, "a stored JSON text is damaged: " + valid_utf8(text.substr(0, 40)))
        .in("results")
        .at(file);
  }
}

Aggregate aggregate_named(const std::string& name, const std::string& file) {
  for (Aggregate aggregate :
       {Aggregate::rate, Aggregate::mean, Aggregate::weighted_mean, Aggregate::sum}) {
    if (name == name_of(aggregate)) return aggregate;
  }
  throw Error(Code::data_loss, "unknown aggregate '" + name + "'").in("results").at(file);
}

std::unique_ptr<Database> open_database(const std::string& path, const ResultsOptions& options) {
  if (!options.read_only) {
    auto database =
        std::make_unique<Database>(path, Database::Mode::read_write, options.lock_timeout_ms);
    // Readers never wait for the writer, and a committed sample survives a power cut.
    database->execute("PRAGMA journal_mode = WAL");
    database->execute("PRAGMA synchronous = FULL");
    database->execute("PRAGMA foreign_keys = ON");
    return database;
  }
  auto database =
      std::make_unique<Database>(path, Database::Mode::read_only, options.lock_timeout_ms);
  try {
    database->query_integer("SELECT count(*) FROM sqlite_schema");
  } catch (const Error& error) {
    // Reading in WAL mode makes files beside the database. Where that cannot be done and no writer
    // has left a log, the file itself is all there is.
    const bool has_log = std::filesystem::exists(path + "-wal");
    const bool may_help =
        error.code() == Code::not_found || error.code() == Code::permission_denied;
    if (has_log || !may_help) throw;
    database = std::make_unique<Database>(path, Database::Mode::immutable, options.lock_timeout_ms);
  }
  return database;
}

}  // namespace

Results::Results(std::filesystem::path path, const ResultsOptions& options)
    : path_(std::move(path)), options_(options) {}

Results::~Results() = default;

std::shared_ptr<Results> Results::open(const std::filesystem::path& path,
                                       const ResultsOptions& options) {
  std::error_code error;
  if (options.read_only) {
    if (!std::filesystem::exists(path, error)) {
      throw Error(Code::not_found, "no such results file").in("results").at(path.string());
    }
  } else if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      const bool denied =
          error == std::errc::permission_denied || error == std::errc::read_only_file_system;
      throw Error(denied ? Code::permission_denied : Code::not_found,
                  "cannot make the folder of the results: " + error.message())
          .in("results")
          .at(path.string());
    }
  }
  if (std::filesystem::is_directory(path, error)) {
    throw Error(Code::invalid_argument, "wanted a results file, found a folder")
        .in("results")
        .at(path.string());
  }

  std::shared_ptr<Results> results(new Results(path, options));
  results->database_ = open_database(path.string(), options);
  prepare_schema(*results->database_, !options.read_only);
  return results;
}

int64_t Results::begin_run(const Run& run) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::write);
  const std::string sha256 = run.sha256();
  Statement find(*database_, "SELECT id, n_items FROM runs WHERE sha256 = ?");
  find.bind(sha256);
  if (find.step()) {
    const int64_t id = find.integer(0);
    transaction.commit();
    return id;
  }

  Statement insert(*database_,
                   "INSERT INTO runs (sha256, identity, info, group_by, n_items, created_at) "
                   "VALUES (?, ?, ?, ?, ?, ?)");
  insert.bind(sha256)
      .bind(run.identity.dump())
      .bind(run.info.dump())
      .bind(Json(run.group_by).dump())
      .bind(run.n_items)
      .bind(utc_now())
      .run();
  const int64_t id = database_->last_row_id();
  for (size_t i = 0; i < run.metrics.size(); ++i) {
    const Metric& metric = run.metrics[i];
    Statement add(*database_,
                  "INSERT INTO metrics (run_id, ordinal, name, aggregate, better, help) "
                  "VALUES (?, ?, ?, ?, ?, ?)");
    add.bind(id)
        .bind(static_cast<int64_t>(i))
        .bind(metric.name)
        .bind(name_of(metric.aggregate))
        .bind(static_cast<int64_t>(metric.better))
        .bind(metric.help)
        .run();
  }
  transaction.commit();
  return id;
}

int64_t Results::prompt_id(const Sample& sample) {
  Statement find(*database_, "SELECT id FROM prompts WHERE sha256 = ?");
  find.bind(sample.prompt_sha256);
  if (find.step()) return find.integer(0);
  Statement insert(*database_, "INSERT INTO prompts (sha256, text, token_ids) VALUES (?, ?, ?)");
  insert.bind(sample.prompt_sha256).bind(sample.prompt).bind(Json(sample.prompt_ids).dump()).run();
  return database_->last_row_id();
}

void Results::add_sample(int64_t run_id, const Sample& sample) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::write);
  Statement find(*database_, "SELECT id FROM samples WHERE run_id = ? AND item = ?");
  find.bind(run_id).bind(sample.item);
  if (find.step()) return;  // another process was faster; by the run's identity it found the same

  Statement insert(
      *database_,
      "INSERT INTO samples (run_id, item, key, prompt_id, attributes, declared_length, "
      "table_sha256, output_ids, output, stop_reason, parsed, seconds, finished_at) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  insert.bind(run_id)
      .bind(sample.item)
      .bind(sample.key)
      .bind(prompt_id(sample))
      .bind(sample.attributes.dump())
      .bind(sample.declared_length)
      .bind(sample.table_sha256)
      .bind(Json(sample.output_ids).dump())
      .bind(sample.output)
      .bind(sample.stop_reason);
  if (sample.parsed) {
    insert.bind(*sample.parsed);
  } else {
    insert.bind_null();
  }
  insert.bind(sample.seconds).bind(utc_now()).run();
  const int64_t sample_id = database_->last_row_id();

  for (const SampleValue& value : sample.values) {
    Statement add(
        *database_,
        "INSERT INTO sample_values (sample_id, metric, value, weight) VALUES (?, ?, ?, ?)");
    add.bind(sample_id).bind(value.metric).bind(value.value).bind(value.weight).run();
  }
  transaction.commit();
}

std::map<int64_t, Sample> Results::samples(int64_t run_id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return load_samples(run_id);
}

std::map<int64_t, Sample> Results::load_samples(int64_t run_id) const {
  std::map<int64_t, Sample> samples;
  std::map<int64_t, Sample*> by_id;
  const std::string file = path_.string();
  Statement rows(
      *database_,
      "SELECT s.id, s.item, s.key, p.text, p.token_ids, p.sha256, s.attributes, "
      "s.declared_length, s.table_sha256, s.output_ids, s.output, s.stop_reason, s.parsed, "
      "s.seconds FROM samples s JOIN prompts p ON p.id = s.prompt_id WHERE s.run_id = ?");
  rows.bind(run_id);
  while (rows.step()) {
    Sample sample;
    sample.item = rows.integer(1);
    sample.key = rows.text(2);
    sample.prompt = rows.text(3);
    sample.prompt_ids = stored<std::vector<int32_t>>(rows.text(4), file);
    sample.prompt_sha256 = rows.text(5);
    sample.attributes = stored<OrderedJson>(rows.text(6), file);
    sample.declared_length = rows.integer(7);
    sample.table_sha256 = rows.text(8);
    sample.output_ids = stored<std::vector<int32_t>>(rows.text(9), file);
    sample.output = rows.text(10);
    sample.stop_reason = rows.text(11);
    if (!rows.is_null(12)) sample.parsed = rows.text(12);
    sample.seconds = rows.real(13);
    const int64_t item = sample.item;
    by_id[rows.integer(0)] = &samples.emplace(item, std::move(sample)).first->second;
  }

  Statement values(*database_,
                   "SELECT v.sample_id, v.metric, v.value, v.weight FROM sample_values v "
                   "JOIN samples s ON s.id = v.sample_id WHERE s.run_id = ? ORDER BY v.sample_id");
  values.bind(run_id);
  while (values.step()) {
    const auto found = by_id.find(values.integer(0));
    if (found == by_id.end()) continue;
    found->second->values.push_back({values.text(1), values.real(2), values.real(3)});
  }
  return samples;
}

std::vector<StoredRun> Results::runs() const {
  std::vector<StoredRun> result;
  const std::string file = path_.string();
  Statement rows(*database_,
                 "SELECT id, identity, info, group_by, n_items, created_at FROM runs ORDER BY id");
  while (rows.step()) {
    StoredRun run;
    run.id = rows.integer(0);
    run.run.identity = stored<Json>(rows.text(1), file);
    run.run.info = stored<Json>(rows.text(2), file);
    run.run.group_by = stored<std::vector<std::string>>(rows.text(3), file);
    run.run.n_items = rows.integer(4);
    run.created_at = rows.text(5);

    Statement metrics(*database_,
                      "SELECT name, aggregate, better, help FROM metrics WHERE run_id = ? "
                      "ORDER BY ordinal");
    metrics.bind(run.id);
    while (metrics.step()) {
      run.run.metrics.push_back({metrics.text(0), metrics.text(3),
                                 aggregate_named(metrics.text(1), file),
                                 static_cast<int32_t>(metrics.integer(2))});
    }
    result.push_back(std::move(run));
  }
  return result;
}

Json Results::summary() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::read);
  Json result = Json::array();
  for (const StoredRun& run : runs()) result.push_back(summary_of(run, load_samples(run.id)));
  return result;
}

Json Results::describe() const {
  return {{"path", path_.string()},
          {"schema_version", kResultsSchemaVersion},
          {"read_only", options_.read_only}};
}

void Results::export_csv(const std::filesystem::path& path) const { export_to(path, write_csv); }

void Results::export_json(const std::filesystem::path& path) const { export_to(path, write_json); }

void Results::export_to(const std::filesystem::path& path, const RunExporter& write) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Transaction transaction(*database_, Transaction::Kind::read);
  const std::vector<StoredRun> all = runs();
  write_file_atomically(path, [&](const FileWriter& file) {
    write(
        all, [this](int64_t run_id) { return load_samples(run_id); }, file);
  });
}

}  // namespace okapi
