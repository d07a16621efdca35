#include "runtime/results/results.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/results/sample_runs.h"
#include "tests/support/temporary_folder.h"

namespace okapi {
namespace {

using testing::HasSubstr;

/// The error that `body` throws; a failed expectation when it throws none.
Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "wanted an error";
  return {Code::ok, ""};
}

int exit_status_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(ResultsTest, KeepsSamplesAsTheyAre) {
  const test::TemporaryFolder folder;
  const Sample sample = make_sample(3, false);
  {
    const auto results = Results::open(folder.path() / "new/folder/r.db");
    const int64_t run = results->begin_run(make_run());
    results->add_sample(run, sample);
  }
  const auto results = Results::open(folder.path() / "new/folder/r.db", {.read_only = true});
  const std::map<int64_t, Sample> samples = results->samples(1);
  ASSERT_EQ(samples.size(), 1);
  const Sample& read = samples.at(3);
  EXPECT_EQ(read.key, sample.key);
  EXPECT_EQ(read.prompt, sample.prompt);
  EXPECT_EQ(read.prompt_ids, sample.prompt_ids);
  EXPECT_EQ(read.prompt_sha256, sample.prompt_sha256);
  EXPECT_EQ(read.attributes, sample.attributes);
  EXPECT_EQ(read.declared_length, sample.declared_length);
  EXPECT_EQ(read.table_sha256, sample.table_sha256);
  EXPECT_EQ(read.output_ids, sample.output_ids);
  EXPECT_EQ(read.output, sample.output);
  EXPECT_EQ(read.stop_reason, sample.stop_reason);
  EXPECT_EQ(read.parsed, sample.parsed);
  ASSERT_EQ(read.values.size(), 1);
  EXPECT_EQ(read.values[0].value, 0.0);
  EXPECT_EQ(read.seconds, 0.5);
}

TEST(ResultsTest, SameIdentityIsTheSameRun) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  const int64_t yarn = results->begin_run(make_run("yarn:scale=4"));
  const int64_t plain = results->begin_run(make_run("plain"));
  EXPECT_NE(yarn, plain);
  EXPECT_EQ(results->begin_run(make_run("yarn:scale=4")), yarn);
}

TEST(ResultsTest, FirstSampleOfAnItemStays) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  const int64_t run = results->begin_run(make_run());
  results->add_sample(run, make_sample(0, true));
  results->add_sample(run, make_sample(0, false));
  EXPECT_EQ(results->samples(run).at(0).values[0].value, 1.0);
}

TEST(ResultsTest, SummaryHasAggregatesInAllAndByGroup) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  const int64_t run = results->begin_run(make_run());
  for (int64_t item = 0; item < 3; ++item) results->add_sample(run, make_sample(item, item != 1));
  const Json summary = results->summary();
  ASSERT_EQ(summary.size(), 1);
  EXPECT_EQ(summary[0]["n_done"], 3);
  EXPECT_EQ(summary[0]["n_items"], 4);
  EXPECT_EQ(summary[0]["identity"]["rope"], "yarn:scale=4");
  EXPECT_NEAR(summary[0]["metrics"][0]["value"].get<double>(), 2.0 / 3, 1e-15);
  EXPECT_EQ(summary[0]["groups"]["length"][1]["value"], 512);
  EXPECT_EQ(summary[0]["groups"]["length"][1]["metrics"][0]["value"], 0.0);
}

// The file is the interface for other programs: this reads it with SQLite alone.
TEST(ResultsTest, AnotherProgramCanReadTheFileWhileItIsWritten) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  const int64_t run = results->begin_run(make_run());
  results->add_sample(run, make_sample(0, true));

  sqlite3* other = nullptr;
  ASSERT_EQ(
      sqlite3_open_v2((folder.path() / "r.db").c_str(), &other, SQLITE_OPEN_READONLY, nullptr),
      SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  ASSERT_EQ(
      sqlite3_prepare_v2(other,
                         "SELECT json_extract(r.identity, '$.rope'), v.value, "
                         "json_extract(s.attributes, '$.length'), json_array_length(p.token_ids) "
                         "FROM samples s JOIN runs r ON r.id = s.run_id JOIN prompts p ON "
                         "p.id = s.prompt_id JOIN sample_values v ON v.sample_id = s.id",
                         -1, &statement, nullptr),
      SQLITE_OK);
  ASSERT_EQ(sqlite3_step(statement), SQLITE_ROW);
  EXPECT_STREQ(reinterpret_cast<const char*>(sqlite3_column_text(statement, 0)), "yarn:scale=4");
  EXPECT_EQ(sqlite3_column_double(statement, 1), 1.0);
  EXPECT_EQ(sqlite3_column_int(statement, 2), 256);
  EXPECT_EQ(sqlite3_column_int(statement, 3), 3);
  sqlite3_finalize(statement);
  sqlite3_close(other);
}

TEST(ResultsTest, EqualPromptsAreStoredOnce) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  for (const char* rope : {"plain", "yarn:scale=4"}) {
    const int64_t run = results->begin_run(make_run(rope));
    for (int64_t item = 0; item < 4; ++item) results->add_sample(run, make_sample(item, true));
  }
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "r.db").c_str(), &other), SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(other, "SELECT count(*) FROM prompts", -1, &statement, nullptr);
  sqlite3_step(statement);
  EXPECT_EQ(sqlite3_column_int(statement, 0), 2);  // make_sample() has two different prompts
  sqlite3_finalize(statement);
  sqlite3_close(other);
}

// Each of two processes writes its own 20 samples of one run at the same time.
TEST(ResultsTest, TwoWritersTakeTurns) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  std::vector<pid_t> children;
  for (int64_t first : {0, 20}) {
    const pid_t child = fork();
    if (child == 0) {
      try {
        const auto results = Results::open(path);
        const int64_t run = results->begin_run(make_run());
        for (int64_t i = first; i < first + 20; ++i) results->add_sample(run, make_sample(i, true));
        _exit(0);
      } catch (...) {
        _exit(1);
      }
    }
    children.push_back(child);
  }
  for (pid_t child : children) EXPECT_EQ(exit_status_of(child), 0);
  EXPECT_EQ(Results::open(path)->samples(1).size(), 40);
}

TEST(ResultsTest, LockedFileIsUnavailableAfterTheTimeout) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  const auto results = Results::open(path, {.lock_timeout_ms = 50});
  const int64_t run = results->begin_run(make_run());

  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const Error error = error_of([&] { results->add_sample(run, make_sample(0, true)); });
  EXPECT_EQ(error.code(), Code::unavailable);
  EXPECT_THAT(error.message(), HasSubstr("another process is writing"));
  EXPECT_EQ(error.file(), path.string());

  sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  results->add_sample(run, make_sample(0, true));
  EXPECT_EQ(results->samples(run).size(), 1);
}

// The child writes without end and is killed; what it announced as written must be there.
TEST(ResultsTest, KillLosesNoCommittedSample) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  int announcements[2];
  ASSERT_EQ(pipe(announcements), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto results = Results::open(path);
    const int64_t run = results->begin_run(make_run());
    for (int64_t item = 0;; ++item) {
      results->add_sample(run, make_sample(item, true));
      const char byte = 1;
      if (write(announcements[1], &byte, 1) != 1) _exit(1);
    }
  }
  close(announcements[1]);
  char buffer[1];
  int64_t n_announced = 0;
  while (n_announced < 25 && read(announcements[0], buffer, 1) == 1) ++n_announced;
  kill(child, SIGKILL);
  EXPECT_EQ(exit_status_of(child), 128 + SIGKILL);
  while (read(announcements[0], buffer, 1) == 1) ++n_announced;
  close(announcements[0]);

  const std::map<int64_t, Sample> samples = Results::open(path)->samples(1);
  EXPECT_GE(static_cast<int64_t>(samples.size()), n_announced);
  for (int64_t item = 0; item < n_announced; ++item) EXPECT_TRUE(samples.contains(item)) << item;
}

// A limit on the file size stands for a full disk: writes past it fail.
TEST(ResultsTest, FullDiskIsAnErrorAndKeepsWhatWasWritten) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const auto results = Results::open(path);
    const int64_t run = results->begin_run(make_run());
    const rlimit limit = {200'000, 200'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int64_t item = 0; item < 250; ++item) {
      try {
        results->add_sample(run, make_sample(item, true));
      } catch (const Error& error) {
        if (error.code() != Code::resource_exhausted || error.file() != path.string()) _exit(255);
        _exit(static_cast<int>(item));  // so many were written
      }
    }
    _exit(254);
  }
  const int n_written = exit_status_of(child);
  ASSERT_GT(n_written, 0);
  ASSERT_LT(n_written, 250);
  EXPECT_EQ(Results::open(path)->samples(1).size(), static_cast<size_t>(n_written));
}

TEST(ResultsTest, RefusesWhatIsNoResultsFile) {
  const test::TemporaryFolder folder;
  std::ofstream(folder.path() / "text.db") << std::string(5000, 'x');
  const Error text = error_of([&] { Results::open(folder.path() / "text.db"); });
  EXPECT_EQ(text.code(), Code::data_loss);
  EXPECT_THAT(text.message(), HasSubstr("not a results file"));
  EXPECT_EQ(text.file(), (folder.path() / "text.db").string());

  sqlite3* foreign = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "foreign.db").c_str(), &foreign), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(foreign, "CREATE TABLE runs (id)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(foreign);
  const Error other = error_of([&] { Results::open(folder.path() / "foreign.db"); });
  EXPECT_EQ(other.code(), Code::data_loss);
  EXPECT_THAT(other.message(), HasSubstr("database of something else"));

  EXPECT_EQ(error_of([&] { Results::open(folder.path() / ""); }).code(), Code::invalid_argument);
  EXPECT_EQ(
      error_of([&] { Results::open(folder.path() / "absent.db", {.read_only = true}); }).code(),
      Code::not_found);
}

TEST(ResultsTest, RefusesANewerVersion) {
  const test::TemporaryFolder folder;
  Results::open(folder.path() / "r.db");
  sqlite3* newer = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "r.db").c_str(), &newer), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(newer, "PRAGMA user_version = 3", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(newer);
  const Error error = error_of([&] { Results::open(folder.path() / "r.db"); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_THAT(error.message(), HasSubstr("wanted results of version 1 to 2, found version 3"));
}

// A file of version 1: the same, without the tables of training.
void make_older(const std::filesystem::path& path) {
  Results::open(path);
  sqlite3* older = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &older), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(older,
                         "DROP TABLE training_steps; DROP TABLE training_evaluations; "
                         "DROP TABLE training_runs; PRAGMA user_version = 1",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(older);
}

TEST(ResultsTest, AnOlderFileGetsWhatItLacks) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  make_older(path);
  const auto read_only = Results::open(path, {.read_only = true});
  EXPECT_EQ(read_only->training(), Json::array());
  EXPECT_EQ(read_only->summary(), Json::array());

  const auto results = Results::open(path);
  const int64_t run = results->begin_training({{{"seed", 1}}, {}});
  const TrainingStep step{1, 2.5, 0.5, 1e-3, 64, 60, 0.25, "plain"};
  results->add_training(run, {&step, 1}, {});
  EXPECT_EQ(results->training()[0]["steps"][0]["loss"], 2.5);
}

TEST(ResultsTest, TrainingCurvesAreKeptByStep) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  const TrainingRun run{{{"seed", 1}}, {{"device", "test"}}};
  const int64_t id = results->begin_training(run);
  EXPECT_EQ(results->begin_training(run), id);
  EXPECT_NE(results->begin_training({{{"seed", 2}}, {}}), id);

  const std::vector<TrainingStep> steps = {{1, 4.0, 1.0, 1e-3, 64, 60, 0.5, "plain"},
                                           {2, 3.0, 0.5, 2e-3, 64, 61, 0.5, "plain"},
                                           {3, std::nan(""), 0.5, 2e-3, 64, 61, 0.5, "plain"}};
  const TrainingEvaluation evaluation{
      2, 3.5, 20, "linear:scale=2", {{0, 15, 4.0, 15}, {16, 31, 2.0, 5}}};
  results->add_training(id, steps, {&evaluation, 1});
  results->add_training(id, {&steps[1], 1}, {});  // said twice, kept once
  const Json kept = results->training()[0];
  EXPECT_EQ(kept["info"]["device"], "test");
  ASSERT_EQ(kept["steps"].size(), 3U);
  EXPECT_EQ(kept["steps"][1]["n_learned"], 61);
  EXPECT_TRUE(kept["steps"][2]["loss"].is_null());
  ASSERT_EQ(kept["evaluations"].size(), 1U);
  EXPECT_EQ(kept["evaluations"][0]["rope"], "linear:scale=2");
  EXPECT_EQ(kept["evaluations"][0]["buckets"][1]["n_tokens"], 5);

  results->forget_training_after(id, 1);
  const Json left = results->training()[0];
  EXPECT_EQ(left["steps"].size(), 1U);
  EXPECT_TRUE(left["evaluations"].empty());
}

TEST(ResultsTest, DamagedPagesAreDataLoss) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  {
    const auto results = Results::open(path);
    const int64_t run = results->begin_run(make_run());
    for (int64_t item = 0; item < 50; ++item) results->add_sample(run, make_sample(item, true));
  }
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  ASSERT_GT(size, 3 * 4096);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(static_cast<size_t>(size - 4096), '\xA5');
  file.close();
  const Error error = error_of([&] { Results::open(path)->summary(); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_EQ(error.file(), path.string());
}

TEST(ResultsTest, DamagedJsonIsDataLoss) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  const auto results = Results::open(path);
  results->add_sample(results->begin_run(make_run()), make_sample(0, true));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "UPDATE samples SET output_ids = '[1, \"x\"]'", nullptr, nullptr,
                         nullptr),
            SQLITE_OK);
  sqlite3_close(other);
  const Error error = error_of([&] { results->samples(1); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_THAT(error.message(), HasSubstr("[1, \"x\"]"));
}

// /proc takes no new files, even from root.
TEST(ResultsTest, FolderThatCannotBeWrittenIsAnErrorNamingTheFile) {
  const Error error = error_of([&] { Results::open("/proc/okapi-results.db"); });
  EXPECT_EQ(error.code(), Code::not_found);
  EXPECT_EQ(error.file(), "/proc/okapi-results.db");
  EXPECT_THAT(error.message(), HasSubstr("writable"));
}

TEST(ResultsTest, ReadOnlyResultsRefuseToBeWritten) {
  const test::TemporaryFolder folder;
  Results::open(folder.path() / "r.db")->begin_run(make_run());
  const auto results = Results::open(folder.path() / "r.db", {.read_only = true});
  EXPECT_EQ(error_of([&] { results->begin_run(make_run("plain")); }).code(),
            Code::permission_denied);
  EXPECT_EQ(results->summary().size(), 1);
  EXPECT_EQ(results->describe()["read_only"], true);
}

// Finished results on a medium that cannot be written are readable.
TEST(ResultsTest, OpensFromAFolderThatCannotBeWritten) {
  const test::TemporaryFolder folder;
  {
    const auto results = Results::open(folder.path() / "sealed/r?#%.db");
    results->add_sample(results->begin_run(make_run()), make_sample(0, true));
  }
  const std::filesystem::path sealed = folder.path() / "sealed";
  using std::filesystem::perms;
  const perms readable =
      perms::owner_read | perms::owner_exec | perms::others_read | perms::others_exec;
  std::filesystem::permissions(sealed, readable);
  std::filesystem::permissions(folder.path(), readable | perms::owner_write);
  const pid_t child = fork();
  if (child == 0) {
    // Root may write anywhere, so the child becomes nobody.
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(2);
    try {
      const auto results = Results::open(sealed / "r?#%.db", {.read_only = true});
      _exit(results->samples(1).size() == 1 ? 0 : 3);
    } catch (...) {
      _exit(4);
    }
  }
  EXPECT_EQ(exit_status_of(child), 0);
  std::filesystem::permissions(sealed, perms::owner_all);
}

}  // namespace
}  // namespace okapi
