// A program's signal handlers may come between any two instructions of its own, but not while the
// library has the stack pointer elsewhere (SignalDelay in backends/cpu/threads.h).
#include <pthread.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <csignal>

#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

std::atomic<const char*> g_stack_begin = nullptr;
std::atomic<const char*> g_stack_end = nullptr;
std::atomic<pthread_t> g_thread;
std::atomic<int> g_n_on_stack = 0;
std::atomic<int> g_n_elsewhere = 0;

void note_where(int) {
  if (pthread_equal(pthread_self(), g_thread) == 0) return;  // a driver's thread
  const char here = 0;
  const bool is_on_stack = &here >= g_stack_begin && &here < g_stack_end;
  ++(is_on_stack ? g_n_on_stack : g_n_elsewhere);
}

void know_stack() {
  pthread_attr_t attributes;
  void* begin = nullptr;
  size_t bytes = 0;
  ASSERT_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
  ASSERT_EQ(pthread_attr_getstack(&attributes, &begin, &bytes), 0);
  pthread_attr_destroy(&attributes);
  g_stack_begin = static_cast<const char*>(begin);
  g_stack_end = static_cast<const char*>(begin) + bytes;
  g_thread = pthread_self();
}

/// A handler called every few hundred microseconds for as long as it lives.
class Alarm {
 public:
  Alarm() {
    struct sigaction action = {};
    action.sa_handler = note_where;
    sigaction(SIGALRM, &action, &before_);
    const itimerval often = {{0, 300}, {0, 300}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~Alarm() {
    const itimerval never = {};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

 private:
  struct sigaction before_ = {};
};

class SignalsTest : public BackendTest {};

TEST_P(SignalsTest, HandlersRunOnTheCallersStack) {
  constexpr int64_t kRows = 256;
  constexpr int64_t kWidth = 256;
  constexpr int kHandled = 50;
  const Values w = random(kWidth * kWidth);
  const auto weight = prepare(w, kWidth, kWidth, DType::f32, DType::f32);
  const Tensor input = put(random(kRows * kWidth), {kRows, kWidth});
  Tensor out(backend_, activations_, {kRows, kWidth});

  know_stack();
  g_n_on_stack = 0;
  g_n_elsewhere = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  {
    const Alarm alarm;
    while (g_n_on_stack < kHandled && std::chrono::steady_clock::now() < deadline) {
      stream_->linear(input.view(), *weight, out.view());
    }
  }
  stream_->synchronize();
  EXPECT_GE(g_n_on_stack, kHandled);
  EXPECT_EQ(g_n_elsewhere, 0);
}

OKAPI_FOR_EACH_BACKEND(SignalsTest);

}  // namespace
}  // namespace okapi
