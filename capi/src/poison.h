// What happens to an object whose own promise was broken in the middle of a change.
#pragma once

#include <optional>
#include <utility>

#include "capi/src/guard.h"

namespace okapi::capi {

/// Errors that the engine foresaw leave an object as it was. One that nobody foresaw (an assertion,
/// a device that failed, a foreign exception) may not, so the object refuses everything from then
/// on and says why.
class Poison {
 public:
  /// Throws failed_precondition, because of the first error, if there was one.
  void check() const {
    if (!first_) return;
    throw Error(Code::failed_precondition, "the object is unusable after an earlier failure")
        .because(*first_);
  }

  /// Runs a change of the object.
  template <typename Change>
  void change(Change&& make) {
    check();
    try {
      std::forward<Change>(make)();
    } catch (...) {
      remember_caught();
      throw;
    }
  }

  /// To be called in a catch block, if what was caught came out of a change of the object.
  void remember_caught() {
    Error caught = error_of_caught();
    if (caught.code() == Code::internal || caught.code() == Code::unknown)
      first_ = std::move(caught);
  }

 private:
  std::optional<Error> first_;
};

}  // namespace okapi::capi
