#include <okapi/runtime.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

Outcome try_create(const okapi_runtime_options& options) {
  okapi_runtime* runtime = nullptr;
  Outcome outcome =
      call([&](okapi_error** error) { return okapi_runtime_create(&options, &runtime, error); });
  EXPECT_EQ(outcome.status == OKAPI_OK, runtime != nullptr);
  okapi_runtime_unref(runtime);
  return outcome;
}

okapi::Json describe(const okapi_runtime* runtime) {
  return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
    return okapi_runtime_describe(runtime, buffer, capacity, needed, error);
  });
}

struct Sink {
  std::atomic<int> n_records{0};
  std::atomic<int> n_destroyed{0};
  std::string last;
  int32_t level = 0;
};

void count_record(const okapi_log_record* record, void* user_data) {
  auto* sink = static_cast<Sink*>(user_data);
  sink->n_records++;
  sink->last = record->message;
  sink->level = record->level;
  EXPECT_EQ(record->struct_size, OKAPI_STRUCT_SIZE(okapi_log_record, n_fields));
  EXPECT_STRNE(record->component, "");
  EXPECT_GT(record->time_ns, uint64_t{1'600'000'000'000'000'000});  // after 2020
  EXPECT_NE(record->thread_id, 0U);
}

void count_destroy(void* user_data) { static_cast<Sink*>(user_data)->n_destroyed++; }

okapi_runtime_options with_sink(Sink& sink) {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_threads = 1;
  options.log_sink = count_record;
  options.log_user_data = &sink;
  options.log_destroy = count_destroy;
  return options;
}

}  // namespace

TEST(RuntimeTest, DefaultsMakeARuntimeThatDescribesItself) {
  const RuntimePtr runtime = create<RuntimePtr>([](okapi_runtime** out, okapi_error** error) {
    return okapi_runtime_create(nullptr, out, error);
  });
  const okapi::Json json = describe(runtime.get());
  EXPECT_EQ(json["version"], okapi_version_string());
  EXPECT_EQ(json["backend"], "cpu");
  EXPECT_NE(json["device"], "");
  EXPECT_GE(json["n_threads"], 1);
  EXPECT_EQ(json["log_level"], "warn");
  EXPECT_EQ(json["plugin_paths"], okapi::Json::array());
}

TEST(RuntimeTest, DescribesWhatItWasGiven) {
  const char* paths[] = {OKAPI_BUILD_LIB "/okapi/plugins/rope"};
  const RuntimePtr runtime = make_runtime([&](okapi_runtime_options& options) {
    options.n_threads = 2;
    options.backend = "cpu";
    options.plugin_paths = paths;
    options.n_plugin_paths = 1;
    options.module_path = OKAPI_BUILD_LIB "/okapi";
    options.log_level = OKAPI_LOG_SILENT;
  });
  const okapi::Json json = describe(runtime.get());
  EXPECT_EQ(json["n_threads"], 2);
  EXPECT_EQ(json["plugin_paths"], okapi::Json::array({paths[0]}));
  EXPECT_EQ(json["module_path"], OKAPI_BUILD_LIB "/okapi");
  EXPECT_EQ(json["log_level"], "silent");
  EXPECT_EQ(json["device_stream"], nullptr);
}

TEST(RuntimeTest, LivesUntilTheLastReferenceGoes) {
  RuntimePtr first = make_runtime();
  const RuntimePtr second(okapi_runtime_ref(first.get()));
  first.reset();
  EXPECT_EQ(describe(second.get())["n_threads"], 1);
  EXPECT_EQ(okapi_runtime_ref(nullptr), nullptr);
  okapi_runtime_unref(nullptr);
}

TEST(RuntimeTest, ImpossibleOptionsAreNamed) {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_threads = -1;
  expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, "options.n_threads");

  options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.log_level = OKAPI_LOG_SILENT + 1;
  expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, "options.log_level");

  options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.device_index = -1;
  expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, "options.device_index");

  options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_plugin_paths = 1;
  expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, "options.plugin_paths");

  const char* paths[] = {"/somewhere", ""};
  options.plugin_paths = paths;
  options.n_plugin_paths = 2;
  expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, "options.plugin_paths[1]");

  options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.struct_size = 0;
  expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, "options.struct_size");
}

TEST(RuntimeTest, AMissingBackendIsNotFoundAndSaysWhatWasTried) {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.backend = "abacus";
  const Outcome outcome = try_create(options);
  EXPECT_EQ(outcome.status, OKAPI_NOT_FOUND);
  EXPECT_THAT(outcome.message(), testing::HasSubstr("okapi_backend_abacus.so"));

  options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.module_path = "/nowhere";
  EXPECT_EQ(try_create(options).status, OKAPI_NOT_FOUND);
}

TEST(RuntimeTest, AStreamOfADeviceIsNoneOfTheCpus) {
  int anything = 0;
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.backend = "cpu";
  options.device_stream = &anything;
  const Outcome outcome = try_create(options);
  EXPECT_EQ(outcome.status, OKAPI_UNAVAILABLE);
  EXPECT_THAT(outcome.message(), testing::HasSubstr("device_stream"));
}

TEST(RuntimeTest, ABackendIsAModulesNameNotAPath) {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.backend = "../../x";
  const okapi_status status = try_create(options).status;
  EXPECT_TRUE(status == OKAPI_INVALID_ARGUMENT || status == OKAPI_NOT_FOUND) << status;
}

TEST(RuntimeLogTest, SinkHearsAndIsDestroyedOnceWithTheRuntime) {
  Sink sink;
  {
    okapi_runtime_options options = with_sink(sink);
    options.log_level = OKAPI_LOG_TRACE;
    const char* missing[] = {"/no/such/plugin.so"};
    options.plugin_paths = missing;
    options.n_plugin_paths = 1;
    const RuntimePtr runtime = create<RuntimePtr>([&](okapi_runtime** out, okapi_error** error) {
      return okapi_runtime_create(&options, out, error);
    });
    EXPECT_GE(sink.n_records, 1) << "a plugin that cannot be used is logged";
    EXPECT_GE(sink.level, OKAPI_LOG_TRACE);
    EXPECT_LE(sink.level, OKAPI_LOG_ERROR);
    EXPECT_EQ(sink.n_destroyed, 0);
  }
  EXPECT_EQ(sink.n_destroyed, 1);
}

TEST(RuntimeLogTest, SinkOutlivesTheRuntimesHandleWithItsChildren) {
  Sink sink;
  const okapi_runtime_options options = with_sink(sink);
  RuntimePtr runtime = create<RuntimePtr>([&](okapi_runtime** out, okapi_error** error) {
    return okapi_runtime_create(&options, out, error);
  });
  ModelPtr model = make_random_model(runtime.get());
  runtime.reset();
  EXPECT_EQ(sink.n_destroyed, 0);
  model.reset();
  EXPECT_EQ(sink.n_destroyed, 1);
}

TEST(RuntimeLogTest, AfterAFailureTheUserDataIsStillTheCallers) {
  Sink sink;
  okapi_runtime_options options = with_sink(sink);
  options.module_path = "/nowhere";
  EXPECT_EQ(try_create(options).status, OKAPI_NOT_FOUND);
  options.n_threads = -1;
  EXPECT_EQ(try_create(options).status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(sink.n_destroyed, 0);
}

TEST(RuntimeLogTest, SilentIsSilent) {
  Sink sink;
  okapi_runtime_options options = with_sink(sink);
  options.log_level = OKAPI_LOG_SILENT;
  const char* missing[] = {"/no/such/plugin.so"};
  options.plugin_paths = missing;
  options.n_plugin_paths = 1;
  EXPECT_EQ(try_create(options).status, OKAPI_OK);
  EXPECT_EQ(sink.n_records, 0);
}

TEST(MeasureTest, MatmulAttentionAndBandwidthAreMeasured) {
  const RuntimePtr runtime = make_runtime();
  okapi_measurement measured = OKAPI_MEASUREMENT_INIT;
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_runtime_measure_matmul(runtime.get(), 64, 64, 64, OKAPI_DTYPE_F32,
                                                  &measured, error);
            }).status,
            OKAPI_OK);
  EXPECT_GT(measured.value, 1e6) << "slower than a million FLOP/s";
  EXPECT_STRNE(measured.kernel, "");

  for (const int32_t dtype : {OKAPI_DTYPE_F32, OKAPI_DTYPE_BF16}) {
    measured = OKAPI_MEASUREMENT_INIT;
    EXPECT_EQ(call([&](okapi_error** error) {
                return okapi_runtime_measure_attention(runtime.get(), 200, 4, 2, 16, dtype,
                                                       &measured, error);
              }).status,
              OKAPI_OK);
    EXPECT_GT(measured.value, 1e6);
  }

  measured = OKAPI_MEASUREMENT_INIT;
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_runtime_measure_bandwidth(runtime.get(), 1 << 22, &measured, error);
            }).status,
            OKAPI_OK);
  EXPECT_GT(measured.value, 1e6);
}

TEST(MeasureTest, BadRequestsAreNamed) {
  const RuntimePtr runtime = make_runtime();
  okapi_measurement measured = OKAPI_MEASUREMENT_INIT;
  const auto matmul = [&](int64_t m, int64_t n, int64_t k, int32_t dtype, okapi_measurement* out) {
    return call([&](okapi_error** error) {
      return okapi_runtime_measure_matmul(runtime.get(), m, n, k, dtype, out, error);
    });
  };
  expect_refusal(matmul(0, 1, 1, OKAPI_DTYPE_F32, &measured), OKAPI_INVALID_ARGUMENT, "m");
  expect_refusal(matmul(1, -1, 1, OKAPI_DTYPE_F32, &measured), OKAPI_INVALID_ARGUMENT, "n");
  expect_refusal(matmul(1, 1, INT64_MAX, OKAPI_DTYPE_F32, &measured), OKAPI_INVALID_ARGUMENT, "k");
  expect_refusal(matmul(1, 1, 1, OKAPI_DTYPE_F16, &measured), OKAPI_UNIMPLEMENTED, "dtype");
  expect_refusal(matmul(1, 1, 1, 99, &measured), OKAPI_INVALID_ARGUMENT, "dtype");
  expect_refusal(matmul(1, 1, 1, OKAPI_DTYPE_F32, nullptr), OKAPI_INVALID_ARGUMENT, "measurement");
  const auto attention = [&](int64_t n_tokens, int64_t n_heads, int64_t n_kv_heads,
                             int64_t head_dim) {
    return call([&](okapi_error** error) {
      return okapi_runtime_measure_attention(runtime.get(), n_tokens, n_heads, n_kv_heads, head_dim,
                                             OKAPI_DTYPE_F32, &measured, error);
    });
  };
  expect_refusal(attention(0, 4, 2, 16), OKAPI_INVALID_ARGUMENT, "n_tokens");
  expect_refusal(attention(8, 0, 2, 16), OKAPI_INVALID_ARGUMENT, "n_heads");
  expect_refusal(attention(8, 4, 3, 16), OKAPI_INVALID_ARGUMENT, "n_kv_heads");
  expect_refusal(attention(8, 4, 8, 16), OKAPI_INVALID_ARGUMENT, "n_kv_heads");
  expect_refusal(attention(8, 4, 2, 15), OKAPI_INVALID_ARGUMENT, "head_dim");
  expect_refusal(attention(8, 4, 2, 258), OKAPI_INVALID_ARGUMENT, "head_dim");
  okapi_measurement unset = {};
  expect_refusal(matmul(1, 1, 1, OKAPI_DTYPE_F32, &unset), OKAPI_INVALID_ARGUMENT,
                 "measurement.struct_size");
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_runtime_measure_bandwidth(runtime.get(), UINT64_MAX, &measured,
                                                          error);
                 }),
                 OKAPI_INVALID_ARGUMENT, "n_bytes");
}
