// The engine's progress, on its way to a caller's callback: a few times a second at most.
#pragma once

#include <okapi/cancel.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace okapi::capi {

class Progress {
 public:
  /// @param stage  outlives this
  Progress(const char* stage, okapi_progress_callback callback, void* user_data)
      : stage_(stage), callback_(callback), user_data_(user_data) {}

  bool is_wanted() const { return callback_ != nullptr; }

  /// The first and the last report of a call are always passed on.
  void report(int64_t done, int64_t total, const std::string& detail = "") {
    if (callback_ == nullptr) return;
    const Clock::time_point now = Clock::now();
    const bool is_last = total > 0 && done >= total;
    if (!is_last && now < next_) return;
    next_ = now + kPause;

    okapi_progress progress{};
    progress.struct_size = OKAPI_STRUCT_SIZE(okapi_progress, detail);
    progress.stage = stage_;
    progress.done = done;
    progress.total = total;
    progress.detail = detail.c_str();
    callback_(&progress, user_data_);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPause{200};

  const char* stage_;
  okapi_progress_callback callback_;
  void* user_data_;
  Clock::time_point next_{};
};

}  // namespace okapi::capi
