#include "tests/backends/backend_test.h"

#include <sstream>

namespace okapi {

std::vector<std::string> tested_backends() {
  std::vector<std::string> names;
  std::istringstream list(OKAPI_TEST_BACKENDS);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  return names;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

std::shared_ptr<Backend> open_for_test(const std::string& name_and_variant, int n_threads) {
  const size_t colon = name_and_variant.find(':');
  BackendOptions options;
  options.n_threads = n_threads;
  if (colon != std::string::npos) options.variant = name_and_variant.substr(colon + 1);
  const Logger quiet([](const LogRecord&) {}, LogLevel::error);
  return open_backend(name_and_variant.substr(0, colon), options,
                      {std::string(OKAPI_BUILD_LIB) + "/okapi/backends"}, quiet);
}

namespace {

uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}
float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// Values that f16 holds exactly: a multiple of 2^-24 or of the unit in the last place, in range.
uint16_t to_f16(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::abs(value);
  if (magnitude == 0) return sign;
  const int exponent = std::max(std::ilogb(magnitude), -14);
  const auto steps = static_cast<int>(std::nearbyint(std::scalbn(magnitude, 10 - exponent)));
  return static_cast<uint16_t>(sign + (exponent + 14) * 1024 + steps);
}
double from_f16(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::scalbn(mantissa, -24) : std::scalbn(mantissa + 1024, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

}  // namespace

double rounded(double value, DType dtype) {
  if (dtype == DType::bf16) return from_bf16(to_bf16(static_cast<float>(value)));
  if (dtype == DType::f16) return from_f16(to_f16(value));
  return static_cast<float>(value);
}

Values RandomValues::operator()(int64_t count, double scale, DType dtype) {
  Values values(static_cast<size_t>(count));
  for (double& value : values) {
    // The sum of four uniform numbers: bell-shaped, and the same on every machine.
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(engine_()) * 0x1p-32 - 0.5;
    value = rounded(sum * 1.7320508 * scale, dtype);
  }
  return values;
}

double relative_error(const Values& got, const Values& wanted) {
  if (got.size() != wanted.size()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    difference += (got[i] - wanted[i]) * (got[i] - wanted[i]);
    norm += wanted[i] * wanted[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

double error_per_element(const Values& got, const Values& wanted) {
  if (got.size() != wanted.size()) return INFINITY;
  double squares = 0;
  for (size_t i = 0; i < got.size(); ++i) squares += (got[i] - wanted[i]) * (got[i] - wanted[i]);
  return std::sqrt(squares / static_cast<double>(got.size()));
}

double tolerance(DType activations) {
  constexpr double kUlps = 32;
  return kUlps * (activations == DType::bf16 ? 0x1p-8 : 0x1p-24);
}

std::vector<std::byte> encode(const Values& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    std::byte* const to = bytes.data() + i * size_of(dtype);
    if (dtype == DType::bf16) {
      const uint16_t word = to_bf16(static_cast<float>(values[i]));
      std::memcpy(to, &word, sizeof(word));
    } else if (dtype == DType::f16) {
      const uint16_t word = to_f16(values[i]);
      std::memcpy(to, &word, sizeof(word));
    } else {
      const auto word = static_cast<float>(values[i]);
      std::memcpy(to, &word, sizeof(word));
    }
  }
  return bytes;
}

Values decode(const std::vector<std::byte>& bytes, DType dtype) {
  Values values(bytes.size() / size_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    const std::byte* const from = bytes.data() + i * size_of(dtype);
    if (dtype == DType::bf16) {
      uint16_t word = 0;
      std::memcpy(&word, from, sizeof(word));
      values[i] = from_bf16(word);
    } else {
      float word = 0;
      std::memcpy(&word, from, sizeof(word));
      values[i] = word;
    }
  }
  return values;
}

Tensor BackendTest::put(const Values& values, std::initializer_list<int64_t> shape) {
  Tensor tensor(backend_, activations_, shape);
  const std::vector<std::byte> bytes = encode(values, activations_);
  EXPECT_EQ(bytes.size(), tensor.bytes());
  stream_->upload(tensor.view().data, bytes.data(), bytes.size());
  return tensor;
}

Tensor BackendTest::put_f32(const Values& values, std::initializer_list<int64_t> shape) {
  Tensor tensor(backend_, DType::f32, shape);
  const std::vector<std::byte> bytes = encode(values, DType::f32);
  EXPECT_EQ(bytes.size(), tensor.bytes());
  stream_->upload(tensor.view().data, bytes.data(), bytes.size());
  return tensor;
}

Values BackendTest::get(const ConstTensorView& view) {
  std::vector<std::byte> bytes(static_cast<size_t>(view.count()) * size_of(view.dtype));
  stream_->download(bytes.data(), view.data, bytes.size());
  stream_->synchronize();
  return decode(bytes, view.dtype);
}

std::unique_ptr<PreparedWeight> BackendTest::prepare(const Values& values, int64_t rows,
                                                     int64_t columns, DType stored, DType keep) {
  const std::vector<std::byte> bytes = encode(values, stored);
  const ConstTensorView block(bytes.data(), stored, {rows, columns});
  return backend_->prepare_weight(std::span(&block, 1), keep);
}

}  // namespace okapi
