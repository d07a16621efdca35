// Configurations in YAML, as the JSON that the library reads. JSON is YAML too.
#pragma once

#include <string>

#include "capi/cli/command.h"

namespace okapi::cli {

struct YamlFile {
  Json value;
  Places places;
};

/// The one document of a file, a mapping. Plain scalars are null, true, false, numbers or text as
/// YAML's core schema says; quoted ones are text. Throws naming file and line on what is no YAML,
/// on a key that comes twice, a key that is no text, a tag, and on aliases that go in a circle or
/// make many values of a few.
YamlFile read_yaml_file(const std::string& path);

/// The same of a text, of any type; `name` stands for the file in messages.
Json read_yaml(const std::string& text, const std::string& name);

}  // namespace okapi::cli
