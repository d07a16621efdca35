#include "capi/cli/yaml_file.h"

#include <charconv>
#include <cmath>
#include <limits>

#include <yaml-cpp/yaml.h>

namespace okapi::cli {

namespace {

class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  Json read(const std::string& text) const {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(text);
      if (documents.size() != 1) {
        throw Failure(OKAPI_INVALID_ARGUMENT,
                      name_ + ": wanted one document, found " + std::to_string(documents.size()));
      }
      return value_of(documents[0]);
    } catch (const YAML::Exception& error) {
      throw failure(error.mark, error.msg);
    }
  }

 private:
  Failure failure(const YAML::Mark& mark, const std::string& message) const {
    return {OKAPI_INVALID_ARGUMENT, name_ + ":" + std::to_string(mark.line + 1) + ": " + message};
  }

  Json value_of(const YAML::Node& node) const {
    switch (node.Type()) {
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (const YAML::Node& item : node) list.push_back(value_of(item));
        return list;
      }
      case YAML::NodeType::Map:
        return object_of(node);
      case YAML::NodeType::Scalar:
        // yaml-cpp marks quoted scalars by the tag "!".
        return node.Tag() == "!" ? Json(node.Scalar()) : plain_value(node.Scalar());
      default:
        return nullptr;
    }
  }

  Json object_of(const YAML::Node& node) const {
    Json object = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) throw failure(entry.first.Mark(), "a key must be text");
      const std::string key = entry.first.Scalar();
      if (object.contains(key))
        throw failure(entry.first.Mark(), "the key " + key + " comes twice");
      object[key] = value_of(entry.second);
    }
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
};

}  // namespace

Json read_yaml_file(const std::string& path) { return read_yaml(read_file(path), path); }

Json read_yaml(const std::string& text, const std::string& name) { return Reader(name).read(text); }

}  // namespace okapi::cli
