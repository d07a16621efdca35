// A CUDA stream that the caller owns: okapi's work stands in one order with the caller's own.
#include <cuda_runtime.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class DeviceStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cudaStreamCreateWithFlags(&caller_, cudaStreamNonBlocking) != cudaSuccess) {
      GTEST_SKIP() << "no usable NVIDIA device";
    }
    BackendOptions options;
    options.device_stream = caller_;
    const Logger quiet([](const LogRecord&) {}, LogLevel::error);
    backend_ = open_backend("cuda", options, {OKAPI_BUILD_LIB "/okapi/backends"}, quiet);
    stream_ = backend_->create_stream();
  }
  void TearDown() override {
    stream_.reset();
    backend_.reset();
    if (caller_ == nullptr) return;
    EXPECT_EQ(cudaStreamDestroy(caller_), cudaSuccess);
  }

  /// Where the largest of `n` numbers is, which is at `at`; asked as often as becomes a graph.
  int32_t find(int64_t n, int64_t at) {
    std::vector<float> x(static_cast<size_t>(n), 0.0F);
    x[static_cast<size_t>(at)] = 1.0F;
    Tensor input(backend_, DType::f32, {1, n});
    Tensor ids(backend_, DType::i32, {1});
    int32_t found = -1;
    stream_->upload(input.view().data, x.data(), x.size() * sizeof(float));
    for (int i = 0; i < 12; ++i) stream_->argmax(input.view(), ids.view());
    stream_->download(&found, ids.view().data, sizeof(found));
    stream_->synchronize();
    return found;
  }

  cudaStream_t caller_ = nullptr;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(DeviceStreamTest, WaitsForWhatTheCallerQueuedBefore) {
  EXPECT_EQ(find(1000, 1), 1);  // what is set up once may wait for the whole device
  std::atomic<bool> has_run = false;
  const auto slowly = [](void* flag) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    *static_cast<std::atomic<bool>*>(flag) = true;
  };
  ASSERT_EQ(cudaLaunchHostFunc(caller_, slowly, &has_run), cudaSuccess);
  EXPECT_EQ(find(1000, 617), 617);
  EXPECT_TRUE(has_run);
}

// The same launches a second time make a graph, which is captured elsewhere.
TEST_F(DeviceStreamTest, GivesTheSameAgainAndAgain) {
  for (const int64_t at : {3, 999, 0, 512}) EXPECT_EQ(find(1000, at), at);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
  ASSERT_EQ(cudaStreamIsCapturing(caller_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusNone);
  EXPECT_EQ(cudaStreamQuery(caller_), cudaSuccess);
}

TEST_F(DeviceStreamTest, LeavesTheCallersStreamToTheCaller) {
  EXPECT_EQ(find(64, 5), 5);
  stream_.reset();
  backend_.reset();
  EXPECT_EQ(cudaStreamSynchronize(caller_), cudaSuccess);
}

}  // namespace
}  // namespace okapi
