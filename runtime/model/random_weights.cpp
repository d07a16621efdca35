#include "runtime/model/random_weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"

namespace okapi {

namespace {

/// Natural logarithm of x > 0 by plain arithmetic: libm's last bit differs between machines.
double log_by_series(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  constexpr double kSqrtHalf = 0.707106781186547524401;
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);  // exact, in [0.5, 1)
  if (mantissa < kSqrtHalf) {
    mantissa *= 2;
    --exponent;
  }
  // log m = 2 artanh(z), z = (m - 1) / (m + 1), |z| < 0.172: thirteen terms reach 1e-17.
  const double z = (mantissa - 1) / (mantissa + 1);
  double sum = 0;
  for (int term = 25; term >= 1; term -= 2) sum = sum * z * z + 1.0 / term;
  return 2 * z * sum + exponent * kLn2;
}

double polynomial(const double (&coefficients)[8], double x) {
  double value = 0;
  for (int i = 7; i >= 0; --i) value = value * x + coefficients[i];
  return value;
}

/// FNV-1a: which stream of random numbers a tensor has.
uint64_t stream_of(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

struct NormalFill {
  uint64_t seed;
  uint64_t stream;
  double deviation;
  DType dtype;
  void* out;

  /// Element i is draw i of the stream, so that ranges may be filled in any order.
  void range(int64_t begin, int64_t end) const {
    Random random(seed, stream);
    random.seek(static_cast<uint64_t>(begin));
    for (int64_t i = begin; i < end; ++i) {
      // The middle of one of 2^52 equal cells: never 0 or 1.
      const double probability = (static_cast<double>(random.next() >> 12) + 0.5) * 0x1.0p-52;
      const auto value = static_cast<float>(deviation * normal_quantile(probability));
      if (dtype == DType::bf16) {
        static_cast<uint16_t*>(out)[i] = bf16_of_float(value);
      } else {
        static_cast<float*>(out)[i] = value;
      }
    }
  }
};

void fill_in_parallel(const NormalFill& fill, int64_t count, int n_threads) {
  constexpr int64_t kWorthAThread = 1 << 16;
  const int64_t n_parts = std::clamp<int64_t>(count / kWorthAThread, 1, n_threads);
  std::vector<std::jthread> workers;
  for (int64_t part = 1; part < n_parts; ++part) {
    workers.emplace_back([&fill, count, part, n_parts] {
      fill.range(count * part / n_parts, count * (part + 1) / n_parts);
    });
  }
  fill.range(0, count / n_parts);
}

}  // namespace

// Wichura 1988, algorithm AS 241 (PPND16): three rational approximations, for the middle and by
// distance r = sqrt(-log p) of the tails.
double normal_quantile(double probability) {
  constexpr double kMiddle[2][8] = {
      {3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3,
       1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
       3.3430575583588128105e+4, 2.5090809287301226727e+3},
      {1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
       2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4,
       5.2264952788528545610e+3}};
  constexpr double kTail[2][8] = {
      {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
       3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
       2.27238449892691845833e-2, 7.74545014278341407640e-4},
      {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
       1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
       1.05075007164441684324e-9}};
  constexpr double kFarTail[2][8] = {
      {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
       2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
       2.71155556874348757815e-5, 2.01033439929228813265e-7},
      {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
       7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
       2.04426310338993978564e-15}};

  const double from_middle = probability - 0.5;
  if (std::fabs(from_middle) <= 0.425) {
    const double r = 0.180625 - from_middle * from_middle;
    return from_middle * polynomial(kMiddle[0], r) / polynomial(kMiddle[1], r);
  }
  const double tail = from_middle < 0 ? probability : 1 - probability;
  const double r = std::sqrt(-log_by_series(tail));
  const double magnitude = r <= 5 ? polynomial(kTail[0], r - 1.6) / polynomial(kTail[1], r - 1.6)
                                  : polynomial(kFarTail[0], r - 5) / polynomial(kFarTail[1], r - 5);
  return from_middle < 0 ? -magnitude : magnitude;
}

WeightSource random_weight_source(const ModelConfig& config, uint64_t seed, double deviation,
                                  DType dtype, int n_threads) {
  auto shapes = std::make_shared<std::map<std::string, std::vector<int64_t>>>();
  for_each_llama_tensor(
      config, [&shapes](const ExpectedTensor& tensor) { (*shapes)[tensor.name] = tensor.shape; });

  return [=](const std::string& name) {
    const std::vector<int64_t>& shape = shapes->at(name);
    LentTensor lent;
    if (shape.size() == 1) {
      lent.storage = HostTensor(DType::f32, {shape[0]});
      std::fill_n(static_cast<float*>(lent.storage.view().data), shape[0], 1.0F);
    } else {
      lent.storage = HostTensor(dtype, {shape[0], shape[1]});
      const NormalFill fill{seed, stream_of(name), deviation, dtype, lent.storage.view().data};
      fill_in_parallel(fill, shape[0] * shape[1], n_threads);
    }
    lent.view = std::as_const(lent.storage).view();
    return lent;
  };
}

}  // namespace okapi
