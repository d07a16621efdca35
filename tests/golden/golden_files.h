// Reading tests/data/golden.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/model/safetensors.h"

namespace okapi::test {

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(OKAPI_TEST_DATA) / "golden" / name;
}

inline Json golden_json(const std::string& name) { return parse_json_file(golden(name), "test"); }

/// A file of expected tensors.
class Expected {
 public:
  explicit Expected(const std::string& name) : file_(SafetensorsFile::open(golden(name))) {}

  std::vector<float> floats(const std::string& name) const {
    return values<float>(name, DType::f32);
  }
  std::vector<double> doubles(const std::string& name) const {
    return values<double>(name, DType::f64);
  }
  std::vector<int32_t> ids(const std::string& name) const {
    std::vector<int32_t> result;
    for (const int64_t id : values<int64_t>(name, DType::i64)) {
      result.push_back(static_cast<int32_t>(id));
    }
    return result;
  }
  int64_t rows(const std::string& name) const { return file_.shape(name).at(0); }

 private:
  template <typename T>
  std::vector<T> values(const std::string& name, DType dtype) const {
    const ConstTensorView tensor = file_.tensor(name);
    if (tensor.dtype != dtype) throw std::runtime_error(name + " has another dtype");
    const T* data = static_cast<const T*>(tensor.data);
    return std::vector<T>(data, data + tensor.count());
  }

  SafetensorsFile file_;
};

}  // namespace okapi::test
