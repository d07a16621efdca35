#include "runtime/base/json.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/number_text.h"

namespace okapi {

namespace {

/// Refuses nesting past the limit and repeated keys, while the parser runs.
class Watcher {
 public:
  Watcher(const JsonPlace& place, int max_depth) : place_(place), max_depth_(max_depth) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
        keys_.emplace_back();
        [[fallthrough]];
      case Json::parse_event_t::array_start:
        if (depth >= max_depth_) {
          throw Error(Code::data_loss,
                      "nested deeper than " + std::to_string(max_depth_) + " objects and arrays")
              .in(place_.component)
              .field(place_.path.empty() ? "json" : place_.path)
              .at(place_.file);
        }
        break;
      case Json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case Json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second) {
          throw Error(Code::data_loss, key + ": the key appears twice in one object")
              .in(place_.component)
              .field(key)
              .at(place_.file);
        }
        break;
      }
      default:
        break;
    }
    return true;
  }

 private:
  const JsonPlace& place_;
  int max_depth_;
  std::vector<std::set<std::string>> keys_;
};

bool is_integer_in(const Json& value, int64_t low, int64_t high) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return high >= 0 && number <= static_cast<uint64_t>(high) &&
           (low <= 0 || number >= static_cast<uint64_t>(low));
  }
  if (value.is_number_integer()) {
    const auto number = value.get<int64_t>();
    return low <= number && number <= high;
  }
  return false;
}

bool is_number_in(const Json& value, double low, double high) {
  if (!value.is_number()) return false;
  const auto number = value.get<double>();
  return std::isfinite(number) && low <= number && number <= high;
}

std::string range_text(double low, double high) {
  const bool open_below = low == std::numeric_limits<double>::lowest();
  const bool open_above = high == std::numeric_limits<double>::max();
  if (open_below && open_above) return "a number";
  if (open_above) return "a number of at least " + number_text(low);
  if (open_below) return "a number of at most " + number_text(high);
  return "a number from " + number_text(low) + " to " + number_text(high);
}

std::string range_text(int64_t low, int64_t high) {
  return "an integer from " + std::to_string(low) + " to " + std::to_string(high);
}

}  // namespace

// Without the parser's own prefix, its name for the error and the place: that is said already.
static std::string problem_of(const Json::parse_error& error) {
  const std::string text = error.what();
  const size_t place = text.find("column");
  const size_t begin = place == std::string::npos ? place : text.find(": ", place);
  return begin == std::string::npos ? text : text.substr(begin + 2);
}

Json parse_json(std::string_view text, const JsonPlace& place, const JsonLimits& limits) {
  const std::string field = place.path.empty() ? "json" : place.path;
  if (text.size() > limits.max_bytes) {
    throw Error(Code::resource_exhausted, "wanted at most " + std::to_string(limits.max_bytes) +
                                              " bytes of JSON, found " +
                                              std::to_string(text.size()))
        .in(place.component)
        .field(field)
        .at(place.file);
  }
  // The parser takes a zero byte for the end and would leave what follows unread.
  if (text.find('\0') != std::string_view::npos) {
    throw Error(Code::data_loss, "not valid JSON: a zero byte")
        .in(place.component)
        .field(field)
        .at(place.file);
  }
  try {
    // By reference, as the parser copies its callback into a std::function.
    Watcher watcher(place, limits.max_depth);
    return Json::parse(text.begin(), text.end(),
                       [&watcher](int depth, Json::parse_event_t event, Json& parsed) {
                         return watcher(depth, event, parsed);
                       });
  } catch (const Json::parse_error& error) {
    const size_t byte = std::min(error.byte, text.size());
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(byte), '\n');
    throw Error(Code::data_loss,
                "not valid JSON at byte " + std::to_string(error.byte) + ": " + problem_of(error))
        .in(place.component)
        .field(field)
        .at(place.file, line);
  } catch (const Json::exception& error) {  // a number too large for a double
    throw Error(Code::data_loss, std::string("not valid JSON: ") + error.what())
        .in(place.component)
        .field(field)
        .at(place.file);
  }
}

Json parse_json_file(const std::filesystem::path& path, const std::string& component,
                     const JsonLimits& limits) {
  return parse_json(read_file(path, limits.max_bytes), {component, path.string()}, limits);
}

std::string describe_json(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array of " + std::to_string(value.size());
    case Json::value_t::number_float:
      return number_text(value.get<double>());
    default:
      break;
  }
  constexpr size_t kLongest = 80;
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

JsonFields::JsonFields(const Json& object, JsonPlace place)
    : object_(&object), place_(std::move(place)) {
  if (object.is_object()) return;
  const std::string name = place_.path.empty() ? "json" : place_.path;
  throw Error(Code::invalid_argument, name + ": wanted an object, found " + describe_json(object))
      .in(place_.component)
      .field(name)
      .at(place_.file);
}

std::string JsonFields::path_of(const std::string& key) const {
  return place_.path.empty() ? key : place_.path + "." + key;
}

void JsonFields::fail(const std::string& key, const std::string& problem) const {
  throw Error(Code::invalid_argument, path_of(key) + ": " + problem)
      .in(place_.component)
      .field(path_of(key))
      .at(place_.file);
}

bool JsonFields::has(const std::string& key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

const Json* JsonFields::find(const std::string& key) {
  known_.insert(key);
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

const Json& JsonFields::require(const std::string& key, const char* wanted) {
  const Json* value = find(key);
  if (value == nullptr) fail(key, std::string("wanted ") + wanted + ", found nothing");
  return *value;
}

const Json* JsonFields::value(const std::string& key) { return find(key); }

std::optional<int64_t> JsonFields::maybe_integer(const std::string& key, int64_t low,
                                                 int64_t high) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!is_integer_in(*value, low, high)) {
    fail(key, "wanted " + range_text(low, high) + ", found " + describe_json(*value));
  }
  return value->get<int64_t>();
}

int64_t JsonFields::integer(const std::string& key, int64_t low, int64_t high) {
  require(key, "an integer");
  return *maybe_integer(key, low, high);
}

int64_t JsonFields::integer_or(const std::string& key, int64_t low, int64_t high, int64_t absent) {
  return maybe_integer(key, low, high).value_or(absent);
}

std::optional<double> JsonFields::maybe_number(const std::string& key, double low, double high) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!is_number_in(*value, low, high)) {
    fail(key, "wanted " + range_text(low, high) + ", found " + describe_json(*value));
  }
  return value->get<double>();
}

double JsonFields::number(const std::string& key, double low, double high) {
  require(key, "a number");
  return *maybe_number(key, low, high);
}

double JsonFields::number_or(const std::string& key, double low, double high, double absent) {
  return maybe_number(key, low, high).value_or(absent);
}

bool JsonFields::boolean(const std::string& key) {
  const Json& value = require(key, "true or false");
  if (!value.is_boolean()) fail(key, "wanted true or false, found " + describe_json(value));
  return value.get<bool>();
}

bool JsonFields::boolean_or(const std::string& key, bool absent) {
  return find(key) == nullptr ? absent : boolean(key);
}

std::optional<std::string> JsonFields::maybe_text(const std::string& key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "wanted a string, found " + describe_json(*value));
  return value->get<std::string>();
}

std::string JsonFields::text(const std::string& key) {
  require(key, "a string");
  return *maybe_text(key);
}

std::string JsonFields::text_or(const std::string& key, std::string absent) {
  return maybe_text(key).value_or(std::move(absent));
}

std::vector<double> JsonFields::numbers(const std::string& key, double low, double high) {
  const Json& value = require(key, "an array of numbers");
  if (!value.is_array()) fail(key, "wanted an array of numbers, found " + describe_json(value));
  std::vector<double> numbers;
  for (const Json& item : value) {
    if (!is_number_in(item, low, high)) {
      fail(key + "[" + std::to_string(numbers.size()) + "]",
           "wanted " + range_text(low, high) + ", found " + describe_json(item));
    }
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

std::vector<int64_t> JsonFields::integers(const std::string& key, int64_t low, int64_t high) {
  const Json& value = require(key, "an array of integers");
  if (!value.is_array()) fail(key, "wanted an array of integers, found " + describe_json(value));
  std::vector<int64_t> integers;
  for (const Json& item : value) {
    if (!is_integer_in(item, low, high)) {
      fail(key + "[" + std::to_string(integers.size()) + "]",
           "wanted " + range_text(low, high) + ", found " + describe_json(item));
    }
    integers.push_back(item.get<int64_t>());
  }
  return integers;
}

std::vector<std::string> JsonFields::texts(const std::string& key) {
  const Json& value = require(key, "an array of strings");
  if (!value.is_array()) fail(key, "wanted an array of strings, found " + describe_json(value));
  std::vector<std::string> texts;
  for (const Json& item : value) {
    if (!item.is_string()) {
      fail(key + "[" + std::to_string(texts.size()) + "]",
           "wanted a string, found " + describe_json(item));
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

JsonFields JsonFields::object(const std::string& key) {
  const Json& value = require(key, "an object");
  return {value, {place_.component, place_.file, path_of(key)}};
}

std::vector<std::string> JsonFields::unread() const {
  std::vector<std::string> keys;
  for (const auto& item : object_->items()) {
    if (!known_.contains(item.key()) && !item.value().is_null()) keys.push_back(item.key());
  }
  return keys;
}

void JsonFields::finish() const {
  const std::vector<std::string> keys = unread();
  if (!keys.empty()) fail(keys.front(), "unknown key");
}

}  // namespace okapi
