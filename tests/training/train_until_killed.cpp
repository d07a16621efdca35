// Trains a small model, going on from whatever checkpoint is there, and says each step on standard
// output. Usage: train_until_killed MODEL FOLDER RESULTS STEPS
#include <unistd.h>

#include <cstdio>
#include <string>

#include "runtime/base/error.h"
#include "tests/training/windows.h"

int main(int, char** arguments) {
  using namespace okapi::test;  // NOLINT(google-build-using-namespace): a program of these tests
  try {
    okapi::Json config = small_run(arguments[1], std::stoll(arguments[4]));
    config["checkpoint"] = {{"folder", arguments[2]}, {"every", 2}};
    config["results"] = arguments[3];
    const auto windows = std::make_shared<DrawnWindows>(20, 33, 96, 7);
    const auto trainer = make_trainer(config, windows, nullptr, /*resume=*/true);
    trainer->set_listener({.on_step = [](const okapi::TrainingStep& step) {
      const std::string line = std::to_string(step.step) + "\n";
      if (write(STDOUT_FILENO, line.data(), line.size()) < 0) _exit(2);
    }});
    trainer->run();
    return 0;
  } catch (const okapi::Error& error) {
    std::fprintf(stderr, "%s\n", error.full_message().c_str());
    return 1;
  }
}
