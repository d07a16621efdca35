// Two runtimes in one process know nothing of each other: sinks, thread limits, plugins.
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

struct Sink {
  std::mutex mutex;
  std::vector<std::string> messages;
};

void remember(const okapi_log_record* record, void* user_data) {
  auto* sink = static_cast<Sink*>(user_data);
  const std::lock_guard<std::mutex> lock(sink->mutex);
  std::string message = record->message;
  for (uint64_t i = 0; i < record->n_fields; ++i) {
    message.append(" ").append(record->fields[i].value);
  }
  sink->messages.push_back(std::move(message));
}

RuntimePtr make_with(Sink& sink, int32_t n_threads, const char* refused_plugin,
                     const std::filesystem::path& module_path) {
  return make_runtime([&](okapi_runtime_options& options) {
    options.n_threads = n_threads;
    options.log_sink = remember;
    options.log_user_data = &sink;
    options.log_level = OKAPI_LOG_TRACE;
    options.plugin_paths = &refused_plugin;
    options.n_plugin_paths = 1;
    options.module_path = module_path.c_str();
  });
}

okapi::Json describe(const okapi_runtime* runtime) {
  return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
    return okapi_runtime_describe(runtime, buffer, capacity, needed, error);
  });
}

size_t n_plugins(const okapi_runtime* runtime) {
  return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
           return okapi_runtime_plugins(runtime, buffer, capacity, needed, error);
         })["plugins"]
      .size();
}

bool mentions(Sink& sink, const std::string& text) {
  const std::lock_guard<std::mutex> lock(sink.mutex);
  return std::any_of(sink.messages.begin(), sink.messages.end(), [&](const std::string& message) {
    return message.find(text) != std::string::npos;
  });
}

}  // namespace

TEST(TwoRuntimesTest, DifferInSinkThreadLimitAndPlugins) {
  const TemporaryFolder folder;  // modules without plugins
  for (const char* kept : {"backends", "tokenizers"}) {
    std::filesystem::create_directory_symlink(
        std::filesystem::path(OKAPI_BUILD_LIB "/okapi") / kept, folder.path() / kept);
  }
  const std::filesystem::path left_file = folder.write("left_one.so", "no plugin");
  const std::filesystem::path right_file = folder.write("right_one.so", "no plugin");

  Sink left_sink;
  Sink right_sink;
  RuntimePtr left = make_with(left_sink, 1, left_file.c_str(), OKAPI_BUILD_LIB "/okapi");
  RuntimePtr right = make_with(right_sink, 2, right_file.c_str(), folder.path());

  EXPECT_EQ(describe(left.get())["n_threads"], 1);
  EXPECT_EQ(describe(right.get())["n_threads"], 2);
  EXPECT_GT(n_plugins(left.get()), 5U);
  EXPECT_EQ(n_plugins(right.get()), 0U);
  EXPECT_TRUE(mentions(left_sink, "left_one"));
  EXPECT_FALSE(mentions(left_sink, "right_one"));
  EXPECT_TRUE(mentions(right_sink, "right_one"));
  EXPECT_FALSE(mentions(right_sink, "left_one"));

  // A scheme registered with one is unknown to the other.
  okapi_rope_scheme_v1 scheme = {};
  scheme.struct_size = sizeof scheme;
  EXPECT_EQ(
      okapi_runtime_register_rope(left.get(), "mine", nullptr, &scheme, nullptr, nullptr, nullptr),
      OKAPI_OK);
  okapi_rope_shape shape = OKAPI_ROPE_SHAPE_INIT;
  shape.head_dim = 16;
  shape.trained_length = 64;
  const auto rope = [&](okapi_runtime* runtime) {
    okapi_rope* made = nullptr;
    const okapi_status status =
        okapi_rope_create_for_shape(runtime, &shape, "mine", &made, nullptr);
    okapi_rope_unref(made);
    return status;
  };
  EXPECT_EQ(rope(left.get()), OKAPI_OK);
  EXPECT_EQ(rope(right.get()), OKAPI_NOT_FOUND);
}

TEST(TwoRuntimesTest, ComputeTheSameAtTheSameTimeAndOneMayGoFirst) {
  std::vector<float> logits[2];
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      RuntimePtr runtime = make_runtime();
      const ModelPtr model = make_random_model(runtime.get());
      runtime.reset();
      for (int round = 0; round < 3; ++round) {
        logits[i] = prefill(make_session(model.get()).get(), some_ids(40));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(logits[0], logits[1]);
}
