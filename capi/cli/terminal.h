// Progress for people, on standard error: a bar on a terminal, a line now and then in a log.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <okapi/cancel.h>

namespace okapi::cli {

class ProgressBar {
 public:
  explicit ProgressBar(std::string title);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// okapi_progress_callback; its user data is the ProgressBar.
  static void on_progress(const okapi_progress* progress, void* self);

 private:
  void show(const okapi_progress& progress);
  void draw_bar(const okapi_progress& progress) const;
  void write_line(const okapi_progress& progress) const;

  using Clock = std::chrono::steady_clock;

  std::string title_;
  bool is_terminal_;
  bool has_drawn_ = false;
  Clock::time_point started_;
  Clock::time_point last_shown_;
};

/// Columns padded to their widest cell; the first column to the left, the others to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// "0.875"; "-" for a number that is not there.
std::string format_number(double value, int precision);

/// "12.3 GB"
std::string format_bytes(double n_bytes);

}  // namespace okapi::cli
