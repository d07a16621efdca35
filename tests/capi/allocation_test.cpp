// Memory that runs out in the middle of a call: the n-th allocation of each call fails, for every
// n, in the product itself. No call may end the process or say anything but RESOURCE_EXHAUSTED, and
// every object must work afterwards.
#include <cstdlib>
#include <functional>
#include <new>
#include <utility>

#include "tests/capi/fixture.h"

namespace {

/// Allocations of this thread until one fails; 0: none will.
thread_local int64_t countdown = 0;

/// What the test itself allocates meanwhile does not fail.
class Pause {
 public:
  Pause() : kept_(std::exchange(countdown, 0)) {}
  ~Pause() { countdown = kept_; }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  int64_t kept_;
};

bool is_to_fail() { return countdown > 0 && --countdown == 0; }

void* allocate(size_t size, size_t alignment) {
  if (is_to_fail()) throw std::bad_alloc();
  void* memory = nullptr;
  if (alignment <= alignof(std::max_align_t)) {
    memory = std::malloc(size > 0 ? size : 1);
  } else if (posix_memalign(&memory, alignment, size > 0 ? size : 1) != 0) {
    memory = nullptr;
  }
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The program's own, which libokapi and its modules use too: the standard's other forms call these.
// Not inlined: the compiler would see free within delete and miss malloc within new.
[[gnu::noinline]] void* operator new(size_t size) { return allocate(size, 1); }
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

using namespace okapi::test;

namespace {

/// Runs the call with its first, second, ... allocation failing, until it makes fewer. Calls that
/// make thousands are sampled ever more thinly.
void fail_each_allocation(const char* name, const std::function<okapi_status()>& make) {
  SCOPED_TRACE(name);
  int64_t n_failed = 0;
  for (int64_t n = 1;; n += 1 + n / 64) {
    countdown = n;
    const okapi_status status = make();
    const bool has_struck = countdown == 0;
    countdown = 0;
    if (!has_struck) {
      EXPECT_EQ(status, OKAPI_OK) << "with no failure";
      break;
    }
    ++n_failed;
    // OK: what failed could be done without, as a record of the log.
    EXPECT_TRUE(status == OKAPI_RESOURCE_EXHAUSTED || status == OKAPI_OK)
        << okapi_status_name(status) << " when allocation " << n << " failed";
    if (status != OKAPI_RESOURCE_EXHAUSTED && status != OKAPI_OK) break;
  }
  EXPECT_EQ(make(), OKAPI_OK) << "after " << n_failed << " failures";
  EXPECT_GT(n_failed, 0) << "nothing was tested";
}

/// A call that makes an object, which is given back at once. With an error object, whose own memory
/// may be missing too.
template <typename Handle, typename Make>
std::function<okapi_status()> making(void (*unref)(Handle*), Make make) {
  return [=] {
    Handle* handle = nullptr;
    okapi_error* error = nullptr;
    const okapi_status status = make(&handle, &error);
    if (status == OKAPI_OK) {
      EXPECT_NE(handle, nullptr);
    } else {
      EXPECT_EQ(handle, nullptr);
    }
    EXPECT_EQ(okapi_error_code(error), status);
    okapi_error_unref(error);
    unref(handle);
    return status;
  };
}

class AllocationTest : public testing::Test {
 protected:
  AllocationTest() { write_model(folder_.path()); }

  /// Opened before anything fails: what an okapi_x_open needs of modules is loaded once.
  void open_all() {
    runtime_ = make_runtime();
    model_ = open_model(runtime_.get(), folder_.path());
    tokenizer_ = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
      return okapi_model_get_tokenizer(model_.get(), out, error);
    });
    rope_ = make_rope(model_.get(), "yarn:scale=4");
    task_ = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
      return okapi_task_open(runtime_.get(), "lines", kParameters, 1, tokenizer_.get(), nullptr,
                             out, error);
    });
  }

  static constexpr const char* kParameters =
      R"({"style": "compact", "length": 64, "n_samples": 2})";

  TemporaryFolder folder_;
  RuntimePtr runtime_;
  ModelPtr model_;
  TokenizerPtr tokenizer_;
  RopePtr rope_;
  TaskPtr task_;
  std::vector<char> buffer_ = std::vector<char>(size_t{1} << 20);
};

}  // namespace

TEST_F(AllocationTest, Cancel) {
  fail_each_allocation("cancel_create", making(okapi_cancel_unref, [](auto** out, auto** error) {
                         return okapi_cancel_create(out, error);
                       }));
}

TEST_F(AllocationTest, RuntimeCreate) {
  // oneDNN's static constructors, which no caller of dlopen can guard, have run before.
  const RuntimePtr loaded = make_runtime();
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_threads = 1;
  options.log_level = OKAPI_LOG_SILENT;
  fail_each_allocation("runtime_create", making(okapi_runtime_unref, [&](auto** out, auto** error) {
                         return okapi_runtime_create(&options, out, error);
                       }));
}

TEST_F(AllocationTest, ModelOpen) {
  open_all();
  fail_each_allocation("model_open", making(okapi_model_unref, [&](auto** out, auto** error) {
                         return okapi_model_open(runtime_.get(), folder_.path().c_str(), nullptr,
                                                 out, error);
                       }));
  const std::string config = tiny_config();
  fail_each_allocation(
      "model_create_random", making(okapi_model_unref, [&](auto** out, auto** error) {
        return okapi_model_create_random(runtime_.get(), config.c_str(), 1, nullptr, out, error);
      }));
}

TEST_F(AllocationTest, Describe) {
  open_all();
  const SessionPtr session = make_session(model_.get());
  const auto describe = [&](const char* name, auto describe_one, auto* object) {
    fail_each_allocation(name, [&, describe_one, object] {
      return describe_one(object, buffer_.data(), buffer_.size(), nullptr, nullptr);
    });
  };
  describe("runtime", okapi_runtime_describe, runtime_.get());
  describe("plugins", okapi_runtime_plugins, runtime_.get());
  describe("model", okapi_model_describe, model_.get());
  describe("tokenizer", okapi_tokenizer_describe, tokenizer_.get());
  describe("rope", okapi_rope_describe, rope_.get());
  describe("session", okapi_session_describe, session.get());
  describe("task", okapi_task_describe, task_.get());
}

TEST_F(AllocationTest, Rope) {
  open_all();
  fail_each_allocation("rope_create", making(okapi_rope_unref, [&](auto** out, auto** error) {
                         return okapi_rope_create(
                             model_.get(), "linear:scale=2 | truncated:length=32", out, error);
                       }));
  fail_each_allocation("rope_table", [&] {
    double inv_freq[8];
    return okapi_rope_table(rope_.get(), 99, 0, inv_freq, 8, nullptr, nullptr, nullptr, nullptr);
  });
  fail_each_allocation("rope_explain", [&] {
    return okapi_rope_explain(rope_.get(), 99, buffer_.data(), buffer_.size(), nullptr, nullptr);
  });
}

TEST_F(AllocationTest, RegisterRope) {
  okapi_rope_scheme_v1 scheme = {};
  scheme.struct_size = sizeof scheme;
  static int n_destroyed = 0;
  int n_registered = 0;
  // A new runtime each time, since a name can be taken only once.
  fail_each_allocation("register_rope", [&] {
    RuntimePtr runtime;
    {
      const Pause pause;
      runtime = make_runtime();
    }
    const okapi_status status = okapi_runtime_register_rope(
        runtime.get(), "mine", nullptr, &scheme, nullptr, [](void*) { ++n_destroyed; }, nullptr);
    const Pause pause;
    if (status == OKAPI_OK) ++n_registered;
    runtime.reset();
    EXPECT_EQ(n_destroyed, n_registered);
    return status;
  });
}

TEST_F(AllocationTest, Tokenizer) {
  open_all();
  const std::string text = "Zebra seven says 17.";
  int32_t ids[64];
  size_t n_ids = 0;
  fail_each_allocation("tokenizer_encode", [&] {
    return okapi_tokenizer_encode(tokenizer_.get(), text.data(), text.size(), 1, ids, 64, &n_ids,
                                  nullptr);
  });
  fail_each_allocation("tokenizer_decode", [&] {
    return okapi_tokenizer_decode(tokenizer_.get(), ids, n_ids, buffer_.data(), buffer_.size(),
                                  nullptr, nullptr);
  });
}

TEST_F(AllocationTest, Session) {
  open_all();
  okapi_session_options with_rope = OKAPI_SESSION_OPTIONS_INIT;
  with_rope.rope = rope_.get();
  fail_each_allocation("session_create", making(okapi_session_unref, [&](auto** out, auto** error) {
                         return okapi_session_create(model_.get(), &with_rope, out, error);
                       }));

  const std::vector<int32_t> ids = some_ids(20);
  const SessionPtr session = make_session(model_.get(), &with_rope);
  std::vector<int32_t> fed;
  const auto then_compare = [&](okapi_status status, const std::vector<int32_t>& added) {
    // Whatever failed, the session holds what it held, or that and what was fed.
    const Pause pause;
    if (status == OKAPI_OK) fed.insert(fed.end(), added.begin(), added.end());
    std::vector<int32_t> held(fed.size() + ids.size() + 8);
    size_t n_held = 0;
    EXPECT_EQ(okapi_session_tokens(session.get(), held.data(), held.size(), &n_held, nullptr),
              OKAPI_OK);
    held.resize(n_held);
    EXPECT_EQ(held, fed);
    return status;
  };
  fail_each_allocation("session_prefill", [&] {
    const float* logits = nullptr;
    return then_compare(okapi_session_prefill(session.get(), ids.data(), 20, &logits, nullptr),
                        ids);
  });
  fail_each_allocation("session_fork and decode", [&] {
    okapi_session* fork = nullptr;
    okapi_status status = okapi_session_fork(session.get(), &fork, nullptr);
    if (status == OKAPI_OK) status = okapi_session_decode(fork, 5, nullptr, nullptr);
    okapi_session_unref(fork);
    return status;
  });
  std::vector<float> nll(20);
  fail_each_allocation("session_score", [&] {
    return then_compare(
        okapi_session_score(session.get(), ids.data(), 20, nll.data(), nullptr, nullptr), ids);
  });

  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 4;
  options.temperature = 1;
  options.ignore_eos = 1;
  options.on_token = [](int32_t, const char*, size_t, void*) -> int32_t { return 0; };
  fail_each_allocation("session_generate", [&] {
    int32_t out[4];
    size_t n = 0;
    const okapi_status status = okapi_session_generate(session.get(), ids.data(), 3, &options, out,
                                                       4, &n, nullptr, nullptr);
    const Pause pause;
    std::vector<int32_t> added(ids.begin(), ids.begin() + 3);
    added.insert(added.end(), out, out + n);
    return then_compare(status, added);
  });

  const std::string path = (folder_.path() / "saved").string();
  fail_each_allocation("session_save",
                       [&] { return okapi_session_save(session.get(), path.c_str(), nullptr); });
  fail_each_allocation("session_restore",
                       making(okapi_session_unref, [&](auto** out, auto** error) {
                         return okapi_session_restore(model_.get(), path.c_str(), out, error);
                       }));

  // After all that, the session still predicts what a new one does.
  const float* logits = nullptr;
  ASSERT_EQ(okapi_session_decode(session.get(), 7, &logits, nullptr), OKAPI_OK);
  const std::vector<float> found(logits, logits + kVocabSize);
  fed.push_back(7);
  EXPECT_LT(distance(found, prefill(make_session(model_.get(), &with_rope).get(), fed)), kRounding);
}

TEST_F(AllocationTest, Adapter) {
  open_all();
  const std::string folder = (folder_.path() / "adapter").string();
  write_adapter(folder_.path(), folder);
  fail_each_allocation("adapter_open", making(okapi_adapter_unref, [&](auto** out, auto** error) {
                         return okapi_adapter_open(model_.get(), folder.c_str(), out, error);
                       }));
  const AdapterPtr adapter = open_adapter(model_.get(), folder);
  fail_each_allocation("adapter_describe", [&] {
    return okapi_adapter_describe(adapter.get(), buffer_.data(), buffer_.size(), nullptr, nullptr);
  });
  const std::string saved = (folder_.path() / "saved").string();
  fail_each_allocation("adapter_save",
                       [&] { return okapi_adapter_save(adapter.get(), saved.c_str(), nullptr); });
  const std::string merged = (folder_.path() / "merged").string();
  fail_each_allocation("adapter_merge", [&] {
    return okapi_adapter_merge(folder_.path().c_str(), folder.c_str(), merged.c_str(), nullptr,
                               nullptr);
  });
}

TEST_F(AllocationTest, Delta) {
  const std::string base = folder_.path().string();
  const std::string delta = (folder_.path() / "delta").string();
  const std::string out = (folder_.path() / "out").string();
  fail_each_allocation("delta_make", [&] {
    return okapi_delta_make(base.c_str(), base.c_str(), delta.c_str(), nullptr, nullptr);
  });
  fail_each_allocation("delta_check", [&] {
    return okapi_delta_check(base.c_str(), delta.c_str(), nullptr, buffer_.data(), buffer_.size(),
                             nullptr, nullptr);
  });
  fail_each_allocation("delta_apply", [&] {
    return okapi_delta_apply(base.c_str(), delta.c_str(), out.c_str(), nullptr, nullptr);
  });
}

TEST_F(AllocationTest, DatasetAndTask) {
  open_all();
  fail_each_allocation("dataset_open", making(okapi_dataset_unref, [&](auto** out, auto** error) {
                         return okapi_dataset_open(runtime_.get(), "lines", nullptr, 1, out, error);
                       }));
  fail_each_allocation("task_open", making(okapi_task_unref, [&](auto** out, auto** error) {
                         return okapi_task_open(runtime_.get(), "lines", kParameters, 1,
                                                tokenizer_.get(), nullptr, out, error);
                       }));
  fail_each_allocation("task_item", [&] {
    return okapi_task_item(task_.get(), 0, buffer_.data(), buffer_.size(), nullptr, nullptr);
  });
  fail_each_allocation("task_score", [&] {
    return okapi_task_score(task_.get(), 0, "17", buffer_.data(), buffer_.size(), nullptr, nullptr);
  });
}

TEST_F(AllocationTest, Evaluation) {
  open_all();
  const std::string path = (folder_.path() / "results.db").string();
  fail_each_allocation("results_open", making(okapi_results_unref, [&](auto** out, auto** error) {
                         return okapi_results_open(runtime_.get(), path.c_str(), nullptr, out,
                                                   error);
                       }));
  const ResultsPtr results = create<ResultsPtr>([&](okapi_results** out, okapi_error** error) {
    return okapi_results_open(runtime_.get(), path.c_str(), nullptr, out, error);
  });
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.results = results.get();
  fail_each_allocation("evaluation_create and run", [&] {
    okapi_evaluation* evaluation = nullptr;
    okapi_status status =
        okapi_evaluation_create(task_.get(), model_.get(), &options, &evaluation, nullptr);
    if (status == OKAPI_OK) status = okapi_evaluation_run(evaluation, nullptr, nullptr);
    if (status == OKAPI_OK) {
      status =
          okapi_evaluation_report(evaluation, buffer_.data(), buffer_.size(), nullptr, nullptr);
    }
    okapi_evaluation_unref(evaluation);
    return status;
  });
}
