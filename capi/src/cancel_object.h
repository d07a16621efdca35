// The object behind okapi_cancel, and the adapters of a caller's callbacks to the engine's.
#pragma once

#include <okapi/cancel.h>

#include <memory>

#include "capi/src/handle.h"
#include "runtime/base/cancel.h"

struct okapi_cancel : okapi::capi::Handle {
  std::shared_ptr<okapi::CancelToken> token = std::make_shared<okapi::CancelToken>();
};

namespace okapi::capi {

/// The engine's token; null for NULL.
inline std::shared_ptr<CancelToken> token_of(const okapi_cancel* cancel) {
  return cancel != nullptr ? cancel->token : nullptr;
}

}  // namespace okapi::capi
