#include "runtime/base/shared_library.h"

#include <dlfcn.h>

#include "runtime/base/error.h"

namespace okapi {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kDeepFlag = 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr int kDeepFlag = 0;
#else
constexpr int kDeepFlag = RTLD_DEEPBIND;
#endif
#else
constexpr int kDeepFlag = RTLD_DEEPBIND;
#endif

}  // namespace

SharedLibrary SharedLibrary::open(const std::filesystem::path& path, Isolation isolation) {
  std::error_code ignored;
  const std::filesystem::path full = std::filesystem::absolute(path, ignored);
  if (!std::filesystem::exists(full, ignored)) {
    throw Error(Code::not_found, "the shared library does not exist")
        .in("library")
        .at(path.string());
  }

  // The full path: a bare file name would make the loader search its own folders.
  const int flags = RTLD_NOW | RTLD_LOCAL | (isolation == Isolation::deep ? kDeepFlag : 0);
  void* handle = ::dlopen(full.c_str(), flags);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    throw Error(Code::unavailable, std::string("the dynamic loader refused the library: ") +
                                       (reason != nullptr ? reason : "no reason given"))
        .in("library")
        .at(path.string());
  }
  return {handle, full.string()};
}

void* SharedLibrary::find(const char* name) const { return ::dlsym(handle_, name); }

void* SharedLibrary::symbol(const char* name) const {
  void* address = find(name);
  if (address == nullptr) {
    throw Error(Code::not_found, std::string("the library exports no symbol ") + name)
        .in("library")
        .field(name)
        .at(path_);
  }
  return address;
}

}  // namespace okapi
