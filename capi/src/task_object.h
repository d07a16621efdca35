// The object behind okapi_task.
#pragma once

#include <okapi/task.h>

#include <memory>

#include "capi/src/handle.h"
#include "runtime/evaluation/bound_task.h"
#include "runtime/runtime_context.h"

struct okapi_task : okapi::capi::Handle {
  okapi_task(std::shared_ptr<okapi::RuntimeContext> parent,
             std::shared_ptr<const okapi::BoundTask> made)
      : context(std::move(parent)), task(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<const okapi::BoundTask> task;
};
