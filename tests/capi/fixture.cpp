#include "tests/capi/fixture.h"

#include <cmath>
#include <limits>

#include "runtime/base/random.h"
#include "runtime/model/adapter.h"
#include "tests/support/tiny_model.h"

namespace okapi::test {

namespace {

TinyModel tiny() {
  TinyModel model;
  model.vocab_size = kVocabSize;
  model.trained_length = kTrainedLength;
  model.with_tokenizer = true;
  return model;
}

}  // namespace

RuntimePtr make_runtime() {
  return make_runtime([](okapi_runtime_options&) {});
}

std::string tiny_config() { return tiny_model_config(tiny()).dump(); }

ModelPtr make_random_model(okapi_runtime* runtime) {
  const std::string config = tiny_config();
  return create<ModelPtr>([&](okapi_model** out, okapi_error** error) {
    return okapi_model_create_random(runtime, config.c_str(), 1, nullptr, out, error);
  });
}

void write_model(const std::filesystem::path& folder) { write_tiny_model(folder, tiny()); }

ModelPtr open_model(okapi_runtime* runtime, const std::filesystem::path& folder) {
  return create<ModelPtr>([&](okapi_model** out, okapi_error** error) {
    return okapi_model_open(runtime, folder.c_str(), nullptr, out, error);
  });
}

void write_adapter(const std::filesystem::path& model_folder, const std::filesystem::path& folder,
                   uint64_t seed) {
  AdapterShape shape;
  shape.rank = 4;
  shape.alpha = 8;
  shape.targets = {Projection::q, Projection::v, Projection::o, Projection::down};
  Adapter adapter = Adapter::fresh(read_model_config(model_folder), shape, seed);
  Random random(seed, 99);
  for (auto& [key, module] : adapter.modules()) {
    const TensorView b = module.b.view();
    for (int64_t i = 0; i < b.count(); ++i) {
      static_cast<float*>(b.data)[i] = static_cast<float>(0.2 * (2 * random.uniform() - 1));
    }
  }
  adapter.save(folder, model_folder.string());
}

AdapterPtr open_adapter(okapi_model* model, const std::filesystem::path& folder) {
  return create<AdapterPtr>([&](okapi_adapter** out, okapi_error** error) {
    return okapi_adapter_open(model, folder.c_str(), out, error);
  });
}

RopePtr make_rope(const okapi_model* model, const char* spec) {
  return create<RopePtr>([&](okapi_rope** out, okapi_error** error) {
    return okapi_rope_create(model, spec, out, error);
  });
}

SessionPtr make_session(okapi_model* model, const okapi_session_options* options) {
  return create<SessionPtr>([&](okapi_session** out, okapi_error** error) {
    return okapi_session_create(model, options, out, error);
  });
}

std::vector<int32_t> some_ids(int64_t n, int32_t first) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(first + static_cast<int32_t>(i * 31 % 500));
  return ids;
}

std::vector<float> prefill(okapi_session* session, const std::vector<int32_t>& ids) {
  const float* logits = nullptr;
  const Outcome outcome = call([&](okapi_error** error) {
    return okapi_session_prefill(session, ids.data(), static_cast<int64_t>(ids.size()), &logits,
                                 error);
  });
  EXPECT_EQ(outcome.status, OKAPI_OK) << outcome.message();
  if (logits == nullptr) return {};
  return {logits, logits + kVocabSize};
}

double distance(const std::vector<float>& left, const std::vector<float>& right) {
  if (left.size() != right.size() || left.empty()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(left[i]) - static_cast<double>(right[i])));
  }
  return most;
}

}  // namespace okapi::test
