#include "runtime/results/export.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/results/results.h"
#include "tests/results/sample_runs.h"
#include "tests/support/temporary_folder.h"

namespace okapi {
namespace {

/// A plain reader of RFC 4180: rows of cells. Fails the test on what the grammar does not allow.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  size_t at = 0;
  while (at < text.size()) {
    std::vector<std::string> row;
    for (bool ends_row = false; !ends_row;) {
      std::string cell;
      if (text[at] == '"') {
        for (++at;; ++at) {
          if (text.at(at) != '"') {
            cell += text[at];
          } else if (text.at(at + 1) == '"') {
            cell += text[++at];
          } else {
            ++at;
            break;
          }
        }
      } else {
        while (text.at(at) != ',' && text[at] != '\r') cell += text[at++];
      }
      row.push_back(cell);
      ends_row = text.at(at) != ',';
      at += ends_row ? 2 : 1;
      if (ends_row) {
        EXPECT_EQ(text.substr(at - 2, 2), "\r\n");
      }
    }
    rows.push_back(row);
  }
  return rows;
}

std::string cell(const std::vector<std::vector<std::string>>& rows, size_t row,
                 const std::string& column) {
  for (size_t i = 0; i < rows[0].size(); ++i) {
    if (rows[0][i] == column) return rows[row].at(i);
  }
  ADD_FAILURE() << "no column " << column;
  return {};
}

/// Two runs; the second has another attribute and metric.
std::shared_ptr<Results> two_runs(const test::TemporaryFolder& folder) {
  auto results = Results::open(folder.path() / "r.db");
  const int64_t first = results->begin_run(make_run());
  results->add_sample(first, make_sample(0, true));
  results->add_sample(first, make_sample(1, false));
  Run run = make_run("plain");
  run.metrics = {{"loss", "nats", Aggregate::mean, -1}};
  Sample sample = make_sample(0, true);
  sample.attributes["bucket"] = "0-512";
  sample.values = {{"loss", 1.0 / 3, 1}};
  results->add_sample(results->begin_run(run), sample);
  return results;
}

TEST(ExportTest, CsvReadsBack) {
  const test::TemporaryFolder folder;
  two_runs(folder)->export_csv(folder.path() / "r.csv");
  const auto rows = parse_csv(read_file(folder.path() / "r.csv", 1 << 20));

  ASSERT_EQ(rows.size(), 4);
  for (const auto& row : rows) EXPECT_EQ(row.size(), rows[0].size());
  EXPECT_EQ(cell(rows, 1, "run"), make_run().sha256());
  EXPECT_EQ(cell(rows, 1, "rope"), "yarn:scale=4");
  EXPECT_EQ(cell(rows, 1, "task.id"), "lines");
  EXPECT_EQ(cell(rows, 1, "output"), "7>\n");
  EXPECT_EQ(cell(rows, 2, "output"), "8, or \"9\"\n");
  EXPECT_EQ(cell(rows, 2, "attribute.length"), "512");
  EXPECT_EQ(cell(rows, 2, "metric.correct"), "0");
  EXPECT_EQ(cell(rows, 2, "metric.loss"), "");
  EXPECT_EQ(cell(rows, 3, "rope"), "plain");
  EXPECT_EQ(cell(rows, 3, "attribute.bucket"), "0-512");
  EXPECT_EQ(std::stod(cell(rows, 3, "metric.loss")), 1.0 / 3);  // shortest text of the same double
}

TEST(ExportTest, JsonReadsBackWithPrompts) {
  const test::TemporaryFolder folder;
  const auto results = two_runs(folder);
  results->export_json(folder.path() / "r.json");
  const Json runs = Json::parse(read_file(folder.path() / "r.json", 1 << 20));

  ASSERT_EQ(runs.size(), 2);
  for (size_t i = 0; i < runs.size(); ++i) {
    Json run = runs[i];
    run.erase("samples");
    EXPECT_EQ(run, results->summary()[i]);
  }
  const Json& sample = runs[0]["samples"][1];
  EXPECT_EQ(sample["prompt"], make_sample(1, false).prompt);
  EXPECT_EQ(sample["prompt_ids"], Json(make_sample(1, false).prompt_ids));
  EXPECT_EQ(sample["correct"], false);
  EXPECT_EQ(sample["parsed"], 8);
  EXPECT_EQ(runs[1]["samples"][0]["loss"], 1.0 / 3);
}

TEST(ExportTest, NothingIsLeftBesideTheFile) {
  const test::TemporaryFolder folder;
  const auto results = two_runs(folder);
  std::filesystem::create_directory(folder.path() / "out");
  results->export_json(folder.path() / "out/r.json");
  results->export_json(folder.path() / "out/r.json");  // over the old one
  size_t n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "out")) {
    EXPECT_EQ(entry.path().filename(), "r.json");
    ++n_files;
  }
  EXPECT_EQ(n_files, 1);
}

TEST(ExportTest, FolderThatIsNotThereIsAnErrorNamingTheFile) {
  const test::TemporaryFolder folder;
  try {
    two_runs(folder)->export_csv("/proc/okapi/r.csv");
    FAIL() << "wanted an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), "/proc/okapi/r.csv");
  }
}

TEST(ExportTest, EmptyResultsGiveAHeaderAndAnEmptyArray) {
  const test::TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  results->export_csv(folder.path() / "r.csv");
  results->export_json(folder.path() / "r.json");
  EXPECT_EQ(parse_csv(read_file(folder.path() / "r.csv", 1 << 20)).size(), 1);
  EXPECT_EQ(Json::parse(read_file(folder.path() / "r.json", 1 << 20)), Json::array());
}

}  // namespace
}  // namespace okapi
