// A backend module of another build, for the loader to refuse.
#include "backends/backend.h"

namespace {

okapi::Backend* create(const okapi::BackendOptions&) { return nullptr; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const okapi::BackendEntry okapi_backend_entry;
const okapi::BackendEntry okapi_backend_entry = {"okapi-of-another-day", create};
