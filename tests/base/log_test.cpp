#include "runtime/base/log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

namespace okapi::test {
namespace {

TEST(LogTest, HandsWholeRecordsToTheSink) {
  std::vector<LogRecord> records;
  const Logger logger([&](const LogRecord& record) { records.push_back(record); }, LogLevel::info);
  logger.log(LogLevel::debug, "model", "below the threshold");
  logger.log(LogLevel::warn, "model", "ignored a key", {{"key", "made_up"}});
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].level, LogLevel::warn);
  EXPECT_EQ(records[0].component, "model");
  EXPECT_EQ(records[0].message, "ignored a key");
  EXPECT_EQ(records[0].fields.at(0).second, "made_up");
  const auto now = static_cast<uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
  EXPECT_LE(records[0].time_ns, now);
  EXPECT_GT(records[0].time_ns, now - 60'000'000'000U);
  EXPECT_FALSE(logger.enabled(LogLevel::debug));
  EXPECT_TRUE(logger.enabled(LogLevel::error));
}

TEST(LogTest, ASinkThatThrowsDoesNotReachTheCaller) {
  const Logger logger([](const LogRecord&) { throw std::runtime_error("broken"); }, LogLevel::info);
  EXPECT_NO_THROW(logger.log(LogLevel::error, "test", "message"));
}

TEST(LogTest, TellsThreadsApart) {
  std::mutex mutex;
  std::set<uint64_t> ids;
  const Logger logger(
      [&](const LogRecord& record) {
        const std::lock_guard lock(mutex);
        ids.insert(record.thread_id);
      },
      LogLevel::info);
  logger.log(LogLevel::info, "test", "here");
  std::thread other([&] { logger.log(LogLevel::info, "test", "there"); });
  other.join();
  EXPECT_EQ(ids.size(), 2U);
}

TEST(LogTest, WritesOneLineToStandardError) {
  testing::internal::CaptureStderr();
  const auto logger = Logger::to_stderr();
  logger->log(LogLevel::info, "test", "not shown");
  logger->log(LogLevel::warn, "test", "shown", {{"key", "value"}});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "okapi: warning: test: shown key=value\n");
}

}  // namespace
}  // namespace okapi::test
