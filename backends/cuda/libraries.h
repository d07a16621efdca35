// A shared library opened when it is first needed. Only names and types come from its headers, so
// the module loads on machines that lack it.
#pragma once

#include <dlfcn.h>

#include <string>

#include "backends/backend.h"

namespace okapi::cuda {

/// Stays open until the process ends: its threads and handles outlive any one backend.
class Library {
 public:
  /// Throws BackendError with what the dynamic loader said.
  explicit Library(const char* name) : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw BackendError("CUDA: " + loader_error());
  }

  template <typename Function>
  void find(const char* symbol, Function*& function) const {
    function = reinterpret_cast<Function*>(dlsym(handle_, symbol));
    if (function == nullptr) throw BackendError("CUDA: " + name_ + " has no " + symbol);
  }

  void* handle() const { return handle_; }

 private:
  static std::string loader_error() {
    const char* const text = dlerror();
    return text != nullptr ? text : "a library could not be opened";
  }

  std::string name_;
  void* handle_;
};

}  // namespace okapi::cuda
