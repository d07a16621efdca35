// A training run that is killed without warning, again and again, ends as an uninterrupted one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "runtime/base/random.h"
#include "runtime/base/sha256.h"
#include "runtime/results/results.h"
#include "tests/support/temporary_folder.h"
#include "tests/training/windows.h"

namespace okapi::test {
namespace {

constexpr int64_t kSteps = 24;

struct Paths {
  std::filesystem::path model;
  std::filesystem::path folder;
  std::filesystem::path results;
};

/// Trains in a process of its own. `kill_after_ms` below 0: to the end. Returns its status.
int train(const Paths& paths, int kill_after_ms) {
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDOUT_FILENO);
    execl(OKAPI_TRAIN_UNTIL_KILLED, OKAPI_TRAIN_UNTIL_KILLED, paths.model.c_str(),
          paths.folder.c_str(), paths.results.c_str(), std::to_string(kSteps).c_str(), nullptr);
    _exit(127);
  }
  if (kill_after_ms >= 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kill_after_ms));
    kill(child, SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

Json curve_of(const Paths& paths) {
  const Json runs = Results::open(paths.results, {.read_only = true})->training();
  EXPECT_EQ(runs.size(), 1U);
  Json curve = Json::array();
  for (const Json& step : runs.at(0).at("steps")) {
    curve.push_back({step["step"], step["loss"], step["gradient_norm"], step["learning_rate"]});
  }
  return curve;
}

std::string last_weights(const Paths& paths) {
  return sha256_of_file(paths.folder / "step-00000024" / "model.safetensors");
}

TEST(KillTest, AnyMomentLosesNothingThatWasSaved) {
  const TemporaryFolder folder;
  const std::filesystem::path model = write_small_config(folder.path() / "model");
  const Paths whole{model, folder.path() / "whole", folder.path() / "whole.db"};
  const Paths again{model, folder.path() / "again", folder.path() / "again.db"};
  // The shorter of two: a busy machine must not move the kills past the end of what they are for.
  auto took = std::chrono::milliseconds::max();
  for (const Paths& paths : {whole, again}) {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(train(paths, -1), 0);
    took = std::min(took, std::chrono::duration_cast<std::chrono::milliseconds>(
                              std::chrono::steady_clock::now() - begin));
  }

  const Paths killed{model, folder.path() / "killed", folder.path() / "killed.db"};
  Random random(static_cast<uint64_t>(OKAPI_N_KILLS));
  int n_killed = 0;
  for (int i = 0; i < OKAPI_N_KILLS; ++i) {
    const int64_t latest = i == 0 ? std::max<int64_t>(1, took.count() / 8) : took.count();
    const auto after = static_cast<int>(random.uniform_int(1, latest));
    const int status = train(killed, after);
    n_killed += WIFSIGNALED(status) ? 1 : 0;
    ASSERT_TRUE(WIFSIGNALED(status) || status == 0) << "killed after " << after << " ms";
  }
  EXPECT_GT(n_killed, 0);
  ASSERT_EQ(train(killed, -1), 0);

  const Json curve = curve_of(killed);
  EXPECT_EQ(curve.size(), static_cast<size_t>(kSteps));
  EXPECT_EQ(curve, curve_of(whole));
  EXPECT_EQ(last_weights(killed), last_weights(whole));
}

}  // namespace
}  // namespace okapi::test
