// The C API with destructors and exceptions: what the Lua module and the command are written with.
//
//   Handle<okapi_model> model = make<okapi_model>(okapi_model_open, runtime, path, nullptr);
//   std::string json = text(okapi_model_describe, model.get());
//   call(okapi_session_truncate, session.get(), 10);
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <okapi/okapi.h>

namespace okapi::api {

/// A call of the C API that failed, or a caller's mistake found before one was made.
class Failure : public std::exception {
 public:
  Failure(okapi_status code, std::string message) : code_(code), message_(std::move(message)) {}

  /// Takes over `error`, which may be null.
  static Failure from(okapi_status code, okapi_error* error) {
    if (error == nullptr) return {code, okapi_status_name(code)};
    Failure failure(code, okapi_error_message(error));
    failure.component_ = okapi_error_component(error);
    failure.field_ = okapi_error_field(error);
    failure.file_ = okapi_error_file(error);
    okapi_error_unref(error);
    return failure;
  }

  const char* what() const noexcept override { return message_.c_str(); }
  okapi_status code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& component() const { return component_; }
  const std::string& field() const { return field_; }
  const std::string& file() const { return file_; }

  Failure& with_field(std::string field) {
    field_ = std::move(field);
    return *this;
  }

 private:
  okapi_status code_;
  std::string message_;
  std::string component_;
  std::string field_;
  std::string file_;
};

/// What is wrong with an argument of ours.
inline Failure invalid(std::string message, std::string field = {}) {
  return Failure(OKAPI_INVALID_ARGUMENT, std::move(message)).with_field(std::move(field));
}

inline void unref(okapi_adapter* object) { okapi_adapter_unref(object); }
inline void unref(okapi_cancel* object) { okapi_cancel_unref(object); }
inline void unref(okapi_dataset* object) { okapi_dataset_unref(object); }
inline void unref(okapi_trainer* object) { okapi_trainer_unref(object); }
inline void unref(okapi_evaluation* object) { okapi_evaluation_unref(object); }
inline void unref(okapi_model* object) { okapi_model_unref(object); }
inline void unref(okapi_results* object) { okapi_results_unref(object); }
inline void unref(okapi_rope* object) { okapi_rope_unref(object); }
inline void unref(okapi_runtime* object) { okapi_runtime_unref(object); }
inline void unref(okapi_session* object) { okapi_session_unref(object); }
inline void unref(okapi_task* object) { okapi_task_unref(object); }
inline void unref(okapi_tokenizer* object) { okapi_tokenizer_unref(object); }

struct Unref {
  template <class T>
  void operator()(T* object) const {
    unref(object);
  }
};

template <class T>
using Handle = std::unique_ptr<T, Unref>;

/// function(arguments..., &error), throwing on failure.
template <class Function, class... Arguments>
void call(Function function, Arguments&&... arguments) {
  okapi_error* error = nullptr;
  const okapi_status status = function(std::forward<Arguments>(arguments)..., &error);
  if (status != OKAPI_OK) throw Failure::from(status, error);
}

/// function(arguments..., &object, &error).
template <class T, class Function, class... Arguments>
Handle<T> make(Function function, Arguments&&... arguments) {
  T* object = nullptr;
  call(function, std::forward<Arguments>(arguments)..., &object);
  return Handle<T>(object);
}

/// function(arguments..., buffer, capacity, &needed, &error), with a buffer that is large enough.
template <class Function, class... Arguments>
std::string text(Function function, Arguments... arguments) {
  constexpr size_t kFirstTry = 4096;
  std::string buffer(kFirstTry, '\0');
  while (true) {
    okapi_error* error = nullptr;
    size_t needed = 0;
    const okapi_status status =
        function(arguments..., buffer.data(), buffer.size(), &needed, &error);
    if (status == OKAPI_OUT_OF_RANGE && needed > buffer.size()) {
      okapi_error_unref(error);
      buffer.resize(needed);
      continue;
    }
    if (status != OKAPI_OK) throw Failure::from(status, error);
    buffer.resize(needed == 0 ? 0 : needed - 1);
    return buffer;
  }
}

}  // namespace okapi::api
