// What stands behind the opaque types that more than one file of this folder meets.
#pragma once

#include <okapi/adapter.h>
#include <okapi/model.h>
#include <okapi/rope.h>
#include <okapi/tokenizer.h>

#include <memory>

#include "capi/src/handle.h"

namespace okapi {
class AdapterWeights;
class Model;
class Rope;
class RuntimeContext;
class Tokenizer;
}  // namespace okapi

struct okapi_runtime : okapi::capi::Handle {
  okapi_runtime(std::shared_ptr<okapi::RuntimeContext> made, int32_t effective_log_level)
      : context(std::move(made)), log_level(effective_log_level) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  int32_t log_level;  ///< OKAPI_LOG_TRACE .. OKAPI_LOG_SILENT
};

struct okapi_model : okapi::capi::Handle {
  explicit okapi_model(std::shared_ptr<okapi::Model> made) : model(std::move(made)) {}
  std::shared_ptr<okapi::Model> model;
};

struct okapi_adapter : okapi::capi::Handle {
  explicit okapi_adapter(std::shared_ptr<const okapi::AdapterWeights> made)
      : adapter(std::move(made)) {}
  std::shared_ptr<const okapi::AdapterWeights> adapter;
};

namespace okapi::capi {

/// The engine's adapter; null for NULL.
inline std::shared_ptr<const AdapterWeights> adapter_of(const okapi_adapter* adapter) {
  return adapter != nullptr ? adapter->adapter : nullptr;
}

}  // namespace okapi::capi

struct okapi_tokenizer : okapi::capi::Handle {
  okapi_tokenizer(std::shared_ptr<okapi::RuntimeContext> parent,
                  std::shared_ptr<const okapi::Tokenizer> made)
      : context(std::move(parent)), tokenizer(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<const okapi::Tokenizer> tokenizer;
};

struct okapi_rope : okapi::capi::Handle {
  okapi_rope(std::shared_ptr<okapi::RuntimeContext> parent, std::shared_ptr<const okapi::Rope> made)
      : context(std::move(parent)), rope(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<const okapi::Rope> rope;
};
