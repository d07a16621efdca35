// JSON that is not trusted: parsing with limits, and objects read field by field with every key,
// type and range checked. Errors name the file and the key's whole path (rope_scaling.factor).
//
//   const Json json = parse_json_file(path, "model");
//   JsonFields fields(json, {"model", path.string()});
//   config.d_model = fields.integer("hidden_size", 1, kMaxSize);
//   fields.finish();  // throws naming a key nobody asked for
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "runtime/base/json_destructor.h"

namespace okapi {

using Json = nlohmann::json;

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 64;  ///< objects and arrays within one another
};

/// Where a JSON text came from, for errors.
struct JsonPlace {
  std::string component;  ///< of the engine: "model"
  std::string file;       ///< may be empty for a text that is in no file
  std::string path = {};  ///< of the value within the file: "rope_scaling"
};

/// Parses one JSON value. Throws data_loss naming the line for malformed text (a duplicate key
/// included, since readers disagree on which one counts) or nesting past the limit.
Json parse_json(std::string_view text, const JsonPlace& place, const JsonLimits& limits = {});
Json parse_json_file(const std::filesystem::path& path, const std::string& component,
                     const JsonLimits& limits = {});

/// "object", "array of 3", "\"text\"", "12": what a message says was found.
std::string describe_json(const Json& value);

/// Reads one object. Every accessor marks its key as known; a key whose value is null counts as
/// absent, as transformers writes unset keys so. Accessors without `_or` or `maybe_` require the
/// key. All throw invalid_argument naming file and path.
class JsonFields {
 public:
  /// Throws unless `object` is an object, which must outlive this.
  JsonFields(const Json& object, JsonPlace place);
  JsonFields(Json&& object, JsonPlace place) = delete;

  bool has(const std::string& key) const;

  /// As has(), but true also when the value is null.
  bool contains(const std::string& key) const { return object_->contains(key); }

  int64_t integer(const std::string& key, int64_t low, int64_t high);
  int64_t integer_or(const std::string& key, int64_t low, int64_t high, int64_t absent);
  std::optional<int64_t> maybe_integer(const std::string& key, int64_t low, int64_t high);

  /// Finite numbers within [low, high].
  double number(const std::string& key, double low = std::numeric_limits<double>::lowest(),
                double high = std::numeric_limits<double>::max());
  double number_or(const std::string& key, double low, double high, double absent);
  std::optional<double> maybe_number(const std::string& key,
                                     double low = std::numeric_limits<double>::lowest(),
                                     double high = std::numeric_limits<double>::max());

  bool boolean(const std::string& key);
  bool boolean_or(const std::string& key, bool absent);

  std::string text(const std::string& key);
  std::string text_or(const std::string& key, std::string absent);
  std::optional<std::string> maybe_text(const std::string& key);

  std::vector<double> numbers(const std::string& key, double low, double high);
  std::vector<int64_t> integers(const std::string& key, int64_t low, int64_t high);
  std::vector<std::string> texts(const std::string& key);

  /// The value itself, or null when absent; for what has a shape of its own.
  const Json* value(const std::string& key);

  /// A field that is an object, to be read by its own JsonFields.
  JsonFields object(const std::string& key);

  /// Marks a key as known without looking at it.
  void ignore(const std::string& key) { known_.insert(key); }

  /// The keys that no accessor has asked for, sorted. A null one counts as absent.
  std::vector<std::string> unread() const;

  /// The keys that some accessor has asked for, sorted: what a message may suggest.
  std::vector<std::string> known() const { return {known_.begin(), known_.end()}; }

  /// Throws naming the first unread key.
  void finish() const;

  /// Throws invalid_argument "<path of key>: <problem>" with field and file filled in.
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;

  const JsonPlace& place() const { return place_; }
  std::string path_of(const std::string& key) const;

 private:
  const Json* find(const std::string& key);
  const Json& require(const std::string& key, const char* wanted);

  const Json* object_;
  JsonPlace place_;
  std::set<std::string> known_;
};

}  // namespace okapi
