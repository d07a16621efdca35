// What the module exports.
#include "backends/cuda/cuda_backend.h"
#include "okapi_build_id.h"

namespace {

okapi::Backend* create(const okapi::BackendOptions& options) {
  return new okapi::cuda::CudaBackend(options);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const okapi::BackendEntry okapi_backend_entry;
const okapi::BackendEntry okapi_backend_entry = {OKAPI_BUILD_ID, create};
