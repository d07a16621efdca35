#include "capi/src/fault.h"

#include <atomic>
#include <new>
#include <stdexcept>

namespace {

std::atomic<int32_t> armed{OKAPI_FAULT_NONE};
std::atomic<const char*> struck{""};

}  // namespace

void okapi_fault_arm(int32_t fault) {
  struck = "";
  armed = fault;
}

const char* okapi_fault_struck() { return struck; }

namespace okapi::capi {

void fault_point(const char* function) {
  const int32_t fault = armed.exchange(OKAPI_FAULT_NONE);
  if (fault == OKAPI_FAULT_NONE) return;
  struck = function;
  if (fault == OKAPI_FAULT_BAD_ALLOC) throw std::bad_alloc();
  if (fault == OKAPI_FAULT_FOREIGN) throw 1;
  throw std::runtime_error("injected");
}

}  // namespace okapi::capi
