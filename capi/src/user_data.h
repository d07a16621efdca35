// A caller's user_data with its destroy function, called exactly once, by whoever lets go last.
#pragma once

#include <memory>

namespace okapi::capi {

/// Shared by all that may call back with `data`. Until take() it is still the caller's: a call that
/// fails on its way destroys nothing.
class UserData {
 public:
  using Destroy = void (*)(void*);

  UserData(void* data, Destroy destroy) : data_(data), destroy_(destroy) {}
  UserData(const UserData&) = delete;
  UserData& operator=(const UserData&) = delete;
  ~UserData() {
    if (is_ours_ && destroy_ != nullptr) destroy_(data_);
  }

  void* get() const { return data_; }

  /// To be called when nothing can fail any more.
  void take() noexcept { is_ours_ = true; }

 private:
  void* data_;
  Destroy destroy_;
  bool is_ours_ = false;
};

}  // namespace okapi::capi
