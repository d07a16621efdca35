// The object behind okapi_dataset.
#pragma once

#include <okapi/dataset.h>

#include <memory>

#include "capi/src/handle.h"
#include "runtime/plugin_host/dataset_plugin.h"
#include "runtime/runtime_context.h"

struct okapi_dataset : okapi::capi::Handle {
  okapi_dataset(std::shared_ptr<okapi::RuntimeContext> parent,
                std::shared_ptr<const okapi::Dataset> made)
      : context(std::move(parent)), dataset(std::move(made)) {}
  std::shared_ptr<okapi::RuntimeContext> context;
  std::shared_ptr<const okapi::Dataset> dataset;
};
