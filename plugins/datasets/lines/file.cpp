#include "plugins/datasets/lines/file.h"

#include <zlib.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

namespace lines {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostBytes = size_t{1} << 30;  // of a line: a small file may unpack to anything
constexpr double kLargestExact = 9007199254740992.0;  // 2^53: numbers of records are doubles

/// Lines of a file that may be compressed; zlib reads a plain one as it is.
class LineReader {
 public:
  explicit LineReader(const std::string& path)
      : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (file_ == nullptr) {
      const int32_t status = errno == ENOENT ? OKAPI_NOT_FOUND : OKAPI_INVALID_ARGUMENT;
      throw okapi::Failure(status, path + ": cannot open the file: " + std::strerror(errno),
                           "file");
    }
  }

  /// Without its line break; nothing at the end of the file.
  std::optional<std::string> next() {
    ++number_;
    std::string line;
    char piece[1 << 16];
    while (gzgets(file_.get(), piece, sizeof piece) != nullptr) {
      line += piece;
      if (line.back() == '\n') break;
      if (line.size() > kMostBytes) fail("the line is longer than a gigabyte");
    }
    int code = Z_OK;
    const char* problem = gzerror(file_.get(), &code);
    if (code == Z_ERRNO) problem = std::strerror(errno);
    if (code != Z_OK && code != Z_STREAM_END) fail(std::string("cannot be read: ") + problem);
    if (line.empty()) return std::nullopt;
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    return line;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw okapi::Failure(OKAPI_INVALID_ARGUMENT,
                         path_ + ":" + std::to_string(number_) + ": " + problem, "file");
  }

 private:
  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
  int64_t number_ = 0;
};

bool is_whole_number(const Json& value) {
  return value.is_number_integer() && std::fabs(value.get<double>()) <= kLargestExact;
}

/// What scoring and grouping rely on.
void check_fields(const Json& object, const LineReader& reader) {
  const auto require = [&](bool holds, const char* problem) {
    if (!holds) reader.fail(problem);
  };
  require(object.contains("prompt"), "prompt: is missing");
  require(object["prompt"].is_string(), "prompt: wanted a text");
  require(object.contains("expected_number"), "expected_number: is missing");
  require(is_whole_number(object["expected_number"]), "expected_number: wanted a whole number");
  require(!object.contains("num_lines") || is_whole_number(object["num_lines"]),
          "num_lines: wanted a whole number");
  if (object.contains("random_idx")) {
    const Json& asked = object["random_idx"];
    require(asked.is_array() && asked.size() == 2 && is_whole_number(asked[1]),
            "random_idx: wanted [label, position]");
  }
}

okapi::Record record_of(const Json& object) {
  okapi::Record record(OKAPI_RECORD_PROMPT);
  for (const auto& [name, value] : object.items()) {
    if (value.is_string()) {
      record.text(name, value.get<std::string>());
    } else if (value.is_number() && std::fabs(value.get<double>()) <= kLargestExact) {
      record.number(name, value.get<double>());
    } else {
      record.json(name, value.dump());
    }
  }
  return record;
}

}  // namespace

std::vector<okapi::Record> read_records(const std::string& path, int64_t n_records) {
  LineReader reader(path);
  std::vector<okapi::Record> records;
  while (n_records < 0 || static_cast<int64_t>(records.size()) < n_records) {
    const std::optional<std::string> line = reader.next();
    if (!line) break;
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    Json object;
    try {
      object = Json::parse(*line);
    } catch (const Json::exception& error) {
      reader.fail(std::string("wanted a JSON object: ") + error.what());
    }
    if (!object.is_object())
      reader.fail("wanted a JSON object, found " + std::string(object.type_name()));
    check_fields(object, reader);
    records.push_back(record_of(object));
  }
  if (records.empty()) {
    throw okapi::Failure(OKAPI_INVALID_ARGUMENT, path + ": holds no records", "file");
  }
  return records;
}

}  // namespace lines
