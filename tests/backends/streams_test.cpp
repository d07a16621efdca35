// Threads: the limit of a backend, several streams at once, the caller's own settings.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class StreamsTest : public BackendTest {
 protected:
  static std::set<std::string> process_threads() {
    std::set<std::string> ids;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
      ids.insert(entry.path().filename());
    return ids;
  }

  /// Threads that a large product on a fresh host thread adds to the process while that thread
  /// lives. Not a difference of counts: workers of an earlier thread may still be on their way out.
  int64_t threads_added(int limit) {
    const std::shared_ptr<Backend> backend = open_for_test(GetParam(), limit);
    int64_t added = 0;
    std::thread([&] {
      const std::set<std::string> before = process_threads();
      const Values values = random_(256 * 256);
      const std::vector<std::byte> bytes = encode(values, DType::f32);
      const ConstTensorView block(bytes.data(), DType::f32, {256, 256});
      const auto weight = backend->prepare_weight(std::span(&block, 1), DType::f32);
      const auto stream = backend->create_stream();
      Tensor x(backend, backend->activation_dtype(), {256, 256});
      Tensor out(backend, backend->activation_dtype(), {256, 256});
      const std::vector<std::byte> input = encode(values, backend->activation_dtype());
      stream->upload(x.view().data, input.data(), input.size());
      stream->linear(x.view(), *weight, out.view());
      stream->swiglu(x.view(), TensorView(out.view().data, out.view().dtype, {256, 128}));
      stream->synchronize();
      for (const std::string& id : process_threads()) added += before.contains(id) ? 0 : 1;
    }).join();
    return added;
  }
};

TEST_P(StreamsTest, UsesNoMoreThreadsThanAllowed) {
  if (backend_->name() != "cpu") GTEST_SKIP() << "threads are the CPU backend's matter";
  EXPECT_EQ(threads_added(1), 0);
  if (std::getenv("OMP_THREAD_LIMIT") != nullptr) GTEST_SKIP() << "OMP_THREAD_LIMIT holds below 3";
  EXPECT_EQ(threads_added(3), 2);
}

// OpenMP's thread count belongs to the calling thread; a program that set it finds it as it was.
TEST_P(StreamsTest, GivesTheCallersThreadCountBack) {
  if (backend_->name() != "cpu") GTEST_SKIP() << "threads are the CPU backend's matter";
  void* const openmp = dlopen("libgomp.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (openmp == nullptr) GTEST_SKIP() << "the backend runs on another OpenMP than libgomp";
  const auto set = reinterpret_cast<void (*)(int)>(dlsym(openmp, "omp_set_num_threads"));
  const auto get_most = reinterpret_cast<int (*)()>(dlsym(openmp, "omp_get_max_threads"));
  set(7);
  const auto weight = prepare(random_(64 * 64), 64, 64, DType::f32, DType::f32);
  const Tensor x = put(random(64 * 64), {64, 64});
  Tensor out(backend_, activations_, {64, 64});
  stream_->linear(x.view(), *weight, out.view());
  EXPECT_EQ(get_most(), 7);
  Tensor narrow(backend_, activations_, {64, 63});
  EXPECT_THROW(stream_->linear(x.view(), *weight, narrow.view()), BackendError);
  EXPECT_EQ(get_most(), 7);
}

TEST_P(StreamsTest, SeveralRunInParallelOnOneWeight) {
  const int64_t n = 300;
  const int64_t k = 96;
  const auto weight = prepare(random_(n * k), n, k, DType::f32, DType::f32);
  constexpr int kStreams = 3;
  std::vector<Tensor> inputs;
  std::vector<Values> alone;
  for (int s = 0; s < kStreams; ++s) {
    const int64_t m =
        40 + 200 * s;  // each a size of its own, so that primitives are made concurrently too
    inputs.push_back(put(random(m * k), {m, k}));
    Tensor out(backend_, activations_, {m, n});
    stream_->linear(inputs.back().view(), *weight, out.view());
    alone.push_back(get(out.view()));
  }
  std::vector<std::thread> threads;
  std::vector<int> n_different(kStreams);
  for (int s = 0; s < kStreams; ++s) {
    threads.emplace_back([&, s] {
      const auto stream = backend_->create_stream();
      Tensor out(backend_, activations_, {inputs[s].view().shape[0], n});
      for (int run = 0; run < 20; ++run) {
        stream->linear(inputs[s].view(), *weight, out.view());
        std::vector<std::byte> bytes(out.bytes());
        stream->download(bytes.data(), out.view().data, bytes.size());
        stream->synchronize();
        n_different[s] += decode(bytes, activations_) != alone[s];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_different, std::vector<int>(kStreams, 0));
}

TEST_P(StreamsTest, OutliveTheirBackend) {
  auto backend = open_for_test(GetParam());
  const auto stream = backend->create_stream();
  const Tensor x = put(random(8), {1, 8});
  Tensor out(backend_, activations_, {1, 4});
  backend.reset();
  EXPECT_NO_THROW(stream->swiglu(x.view(), out.view()));
}

TEST_P(StreamsTest, CopiesInTheOrderOfTheQueue) {
  const Values values = random(100);
  const Tensor from = put(values, {100});
  Tensor to(backend_, activations_, {100});
  stream_->copy(to.view().data, from.view().data, from.bytes());
  EXPECT_EQ(get(to.view()), values);
}

TEST_P(StreamsTest, MeasuresItsCeilings) {
  const MatmulMeasurement product = backend_->measure_matmul(64, 128, 128, DType::f32);
  EXPECT_GT(product.gflops, 0);
  EXPECT_FALSE(product.kernel.empty());
  EXPECT_GT(backend_->measure_read_bandwidth(size_t{1} << 24), 0);
  EXPECT_THROW(backend_->measure_matmul(0, 1, 1, DType::f32), BackendError);
  EXPECT_FALSE(backend_->device().empty());
}

OKAPI_FOR_EACH_BACKEND(StreamsTest);

}  // namespace
}  // namespace okapi
