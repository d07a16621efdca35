// The object behind okapi_results.
#pragma once

#include <okapi/results.h>

#include <memory>

#include "capi/src/handle.h"
#include "runtime/results/results.h"
#include "runtime/runtime_context.h"

struct okapi_results : okapi::capi::Handle {
  okapi_results(std::shared_ptr<okapi::RuntimeContext> parent, std::shared_ptr<okapi::Results> made)
      : context(std::move(parent)), results(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<okapi::Results> results;
};
