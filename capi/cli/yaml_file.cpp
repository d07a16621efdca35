#include "capi/cli/yaml_file.h"

#include <charconv>
#include <cmath>
#include <limits>

#include <yaml-cpp/yaml.h>

namespace okapi::cli {

namespace {

// Far more than any configuration has. Aliases make many values of a short text, even endless ones.
constexpr int kMaxDepth = 64;
constexpr int64_t kMaxValues = 100'000;

class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  Json read(const std::string& text) {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(text);
      if (documents.size() != 1) {
        throw Failure(OKAPI_INVALID_ARGUMENT,
                      name_ + ": wanted one document, found " + std::to_string(documents.size()));
      }
      return value_of(documents[0], "");
    } catch (const YAML::Exception& error) {
      throw failure(error.mark, error.msg);
    }
  }

  Places take_places() { return std::move(places_); }

 private:
  std::string place(const YAML::Mark& mark) const {
    return name_ + ":" + std::to_string(mark.line + 1);
  }

  Failure failure(const YAML::Mark& mark, const std::string& message) const {
    return {OKAPI_INVALID_ARGUMENT, place(mark) + ": " + message};
  }

  Json value_of(const YAML::Node& node, const std::string& path) {
    if (++n_values_ > kMaxValues) {
      throw failure(node.Mark(), "more than " + std::to_string(kMaxValues) +
                                     " values, counting each alias as what it stands for");
    }
    // yaml-cpp marks plain values by the tag "?", quoted ones by "!".
    const std::string& tag = node.Tag();
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw failure(node.Mark(), "the tag " + tag + ": tags are not read");
    }
    switch (node.Type()) {
      case YAML::NodeType::Sequence:
        return list_of(node, path);
      case YAML::NodeType::Map:
        return object_of(node, path);
      case YAML::NodeType::Scalar:
        return tag == "!" ? Json(node.Scalar()) : plain_value(node.Scalar());
      default:
        return nullptr;
    }
  }

  void enter(const YAML::Node& node) {
    if (++depth_ > kMaxDepth) {
      throw failure(node.Mark(), "nested deeper than " + std::to_string(kMaxDepth) +
                                     " lists and mappings, or in a circle");
    }
  }

  Json list_of(const YAML::Node& node, const std::string& path) {
    enter(node);
    Json list = Json::array();
    for (const YAML::Node& item : node) {
      const std::string inside = path + "[" + std::to_string(list.size()) + "]";
      places_[inside] = place(item.Mark());
      list.push_back(value_of(item, inside));
    }
    --depth_;
    return list;
  }

  Json object_of(const YAML::Node& node, const std::string& path) {
    enter(node);
    Json object = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) throw failure(entry.first.Mark(), "a key must be text");
      const std::string key = entry.first.Scalar();
      if (object.contains(key))
        throw failure(entry.first.Mark(), "the key " + key + " comes twice");
      std::string inside = path;
      if (!inside.empty()) inside += '.';
      inside += key;
      places_[inside] = place(entry.first.Mark());
      object[key] = value_of(entry.second, inside);
    }
    --depth_;
    return object;
  }

  static Json plain_value(const std::string& text) {
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
      return nullptr;
    }
    if (text == "true" || text == "True" || text == "TRUE") return true;
    if (text == "false" || text == "False" || text == "FALSE") return false;
    const char* const begin = text.data() + (text[0] == '+' ? 1 : 0);
    const char* const end = text.data() + text.size();
    int64_t integer = 0;
    auto parsed = std::from_chars(begin, end, integer);
    if (parsed.ec == std::errc() && parsed.ptr == end) return integer;
    // Words such as "inf" and "nan" are text: from_chars would take them.
    if (text.find_first_not_of("0123456789+-.eE") != std::string::npos) return text;
    double number = 0;
    parsed = std::from_chars(begin, end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) return number;
    return text;
  }

  const std::string& name_;
  Places places_;
  int depth_ = 0;
  int64_t n_values_ = 0;
};

}  // namespace

YamlFile read_yaml_file(const std::string& path) {
  Reader reader(path);
  YamlFile file;
  file.value = reader.read(read_file(path));
  if (!file.value.is_object()) {
    throw Failure(OKAPI_INVALID_ARGUMENT,
                  path + ": wanted keys with values, found " + std::string(file.value.type_name()));
  }
  file.places = reader.take_places();
  return file;
}

Json read_yaml(const std::string& text, const std::string& name) { return Reader(name).read(text); }

}  // namespace okapi::cli
