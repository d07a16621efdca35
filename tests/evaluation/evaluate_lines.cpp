// Evaluates a lines task into a results file and says on standard output each time a sample is
// kept. Usage: evaluate_lines RESULTS
#include <unistd.h>

#include <cstdio>

#include "runtime/base/error.h"
#include "tests/evaluation/savanna_lines.h"

int main(int, char** arguments) {
  using namespace okapi::test;  // NOLINT(google-build-using-namespace): a program of these tests
  try {
    okapi::EvaluationOptions options;
    options.batch_size = 3;
    options.results = okapi::Results::open(arguments[1]);
    const auto evaluation = okapi::Evaluation::create(
        savanna_task({{"length", 200}, {"n_samples", 40}}), savanna(), options);
    okapi::RunOptions run;
    run.progress = [](int64_t done, int64_t) {
      const std::string line = std::to_string(done) + "\n";
      if (write(STDOUT_FILENO, line.data(), line.size()) < 0) _exit(2);
    };
    evaluation->run(run);
    return 0;
  } catch (const okapi::Error& error) {
    std::fprintf(stderr, "%s\n", error.full_message().c_str());
    return 1;
  }
}
