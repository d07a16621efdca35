// A run that is killed goes on where it stopped, and ends as if nothing had happened.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include <gtest/gtest.h>

#include "tests/evaluation/savanna_lines.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

/// Runs evaluate_lines; with `kill_after` above 0, kills it without warning once it says that so
/// many samples are kept. Returns the number it said last, and its status.
struct Ending {
  int64_t n_said = -1;
  int status = 0;
};
Ending evaluate(const std::filesystem::path& results, int64_t kill_after) {
  int output[2];
  if (pipe(output) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    dup2(output[1], STDOUT_FILENO);
    close(output[0]);
    close(output[1]);
    execl(OKAPI_EVALUATE_LINES, OKAPI_EVALUATE_LINES, results.c_str(), nullptr);
    _exit(127);
  }
  close(output[1]);
  FILE* lines = fdopen(output[0], "r");
  Ending ending;
  char line[64];
  bool is_killed = false;
  while (fgets(line, sizeof line, lines) != nullptr) {
    ending.n_said = std::stoll(line);
    if (!is_killed && kill_after > 0 && ending.n_said >= kill_after) {
      kill(child, SIGKILL);
      is_killed = true;
    }
  }
  fclose(lines);
  waitpid(child, &ending.status, 0);
  return ending;
}

Json samples_of(const std::filesystem::path& path) {
  EvaluationOptions options;
  options.results = Results::open(path);
  const auto evaluation =
      Evaluation::create(savanna_task({{"length", 200}, {"n_samples", 40}}), savanna(), options);
  return comparable(evaluation->report());
}

TEST(EvaluationResumeTest, KilledRunEndsAsAnUninterruptedOne) {
  const TemporaryFolder folder;
  const std::filesystem::path killed = folder.path() / "killed.db";
  const std::filesystem::path whole = folder.path() / "whole.db";
  ASSERT_EQ(evaluate(whole, 0).status, 0);

  const Ending first = evaluate(killed, 5);
  ASSERT_TRUE(WIFSIGNALED(first.status));
  ASSERT_EQ(WTERMSIG(first.status), SIGKILL);
  ASSERT_GE(first.n_said, 5);
  ASSERT_LT(first.n_said, 40);
  const size_t n_kept = samples_of(killed).size();
  EXPECT_GE(static_cast<int64_t>(n_kept),
            first.n_said);  // all it said, and what it had no time to say
  EXPECT_LT(n_kept, 40);

  const Ending second = evaluate(killed, static_cast<int64_t>(n_kept) + 5);
  EXPECT_TRUE(WIFSIGNALED(second.status));
  EXPECT_GT(samples_of(killed).size(), n_kept);
  EXPECT_EQ(evaluate(killed, 0).status, 0);

  EXPECT_EQ(samples_of(killed).size(), 40);
  EXPECT_EQ(samples_of(killed), samples_of(whole));
  EXPECT_EQ(Results::open(killed)->summary().size(), 1);  // one run, not three
}

}  // namespace
}  // namespace okapi::test
