// Where the tokenizer tests find their models and the module.
#pragma once

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "runtime/base/json.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi::test {

inline std::vector<std::filesystem::path> module_dirs() {
  return {std::filesystem::path(OKAPI_BUILD_LIB) / "okapi" / "tokenizers"};
}

inline std::filesystem::path tokenizer_data(const std::string& name) {
  return std::filesystem::path(OKAPI_TEST_DATA) / "tokenizer" / name;
}

inline std::shared_ptr<const Tokenizer> open_tokenizer(const std::filesystem::path& path) {
  return Tokenizer::open(path, module_dirs());
}

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace okapi::test
