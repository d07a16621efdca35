// A shared library opened when it is first needed. Only names and types come from its headers, so
// the module loads on machines that lack it.
#pragma once

#include <dlfcn.h>

#include <sstream>
#include <string>

#include "backends/backend.h"

namespace okapi::cuda {

/// Looked for where the dynamic loader does, then in the folders known when this was built
/// (OKAPI_CUDA_LIBRARY_FOLDERS). Stays open until the process ends: its threads and handles outlive
/// any one backend.
class Library {
 public:
  /// Throws BackendError with what the dynamic loader said.
  explicit Library(const char* name) : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    const std::string error = handle_ == nullptr ? loader_error() : "";
    std::istringstream folders(OKAPI_CUDA_LIBRARY_FOLDERS);
    for (std::string folder; handle_ == nullptr && std::getline(folders, folder, ':');) {
      handle_ = dlopen((folder + "/" + name_).c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    if (handle_ == nullptr) throw BackendError("CUDA: " + error);
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
