// What the tests of the C API share: handles that go by themselves, text and errors as C++ values.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <okapi/okapi.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace okapi::test {

template <auto kUnref>
struct Unref {
  template <typename T>
  void operator()(T* handle) const {
    kUnref(handle);
  }
};

using AdapterPtr = std::unique_ptr<okapi_adapter, Unref<okapi_adapter_unref>>;
using CancelPtr = std::unique_ptr<okapi_cancel, Unref<okapi_cancel_unref>>;
using DatasetPtr = std::unique_ptr<okapi_dataset, Unref<okapi_dataset_unref>>;
using ErrorPtr = std::unique_ptr<okapi_error, Unref<okapi_error_unref>>;
using EvaluationPtr = std::unique_ptr<okapi_evaluation, Unref<okapi_evaluation_unref>>;
using ModelPtr = std::unique_ptr<okapi_model, Unref<okapi_model_unref>>;
using ResultsPtr = std::unique_ptr<okapi_results, Unref<okapi_results_unref>>;
using RopePtr = std::unique_ptr<okapi_rope, Unref<okapi_rope_unref>>;
using RuntimePtr = std::unique_ptr<okapi_runtime, Unref<okapi_runtime_unref>>;
using SessionPtr = std::unique_ptr<okapi_session, Unref<okapi_session_unref>>;
using TaskPtr = std::unique_ptr<okapi_task, Unref<okapi_task_unref>>;
using TrainerPtr = std::unique_ptr<okapi_trainer, Unref<okapi_trainer_unref>>;
using TokenizerPtr = std::unique_ptr<okapi_tokenizer, Unref<okapi_tokenizer_unref>>;

/// What a call said: run one with `call([&](okapi_error** error) { return okapi_x(..., error); })`.
struct Outcome {
  okapi_status status = OKAPI_OK;
  ErrorPtr error;

  std::string message() const { return okapi_error_message(error.get()); }
  std::string field() const { return okapi_error_field(error.get()); }
  std::string component() const { return okapi_error_component(error.get()); }
};

/// Runs the call and checks what holds for all: an error object if and only if it failed, with the
/// status as its code and a message that is not empty.
template <typename Call>
Outcome call(Call&& make) {
  // Not NULL: every call must overwrite it.
  okapi_error* raw = reinterpret_cast<okapi_error*>(alignof(std::max_align_t));
  Outcome outcome;
  outcome.status = make(&raw);
  outcome.error.reset(raw);
  EXPECT_EQ(outcome.status == OKAPI_OK, outcome.error == nullptr) << outcome.status;
  EXPECT_EQ(outcome.status, okapi_error_code(outcome.error.get()));
  EXPECT_EQ(outcome.status == OKAPI_OK, outcome.message().empty());
  return outcome;
}

/// A new object from `make(T** out, okapi_error** error)`, or null with a failed expectation.
template <typename Pointer, typename Make>
Pointer create(Make&& make) {
  typename Pointer::element_type* raw = nullptr;
  const Outcome outcome = call([&](okapi_error** error) { return make(&raw, error); });
  EXPECT_EQ(outcome.status, OKAPI_OK) << outcome.message();
  EXPECT_NE(raw, nullptr);
  return Pointer(raw);
}

/// Text from `get(char* buffer, size_t capacity, size_t* needed, okapi_error** error)`, asked for
/// its size first.
template <typename Get>
std::string text_of(Get&& get) {
  size_t needed = 0;
  const Outcome asked = call([&](okapi_error** error) { return get(nullptr, 0, &needed, error); });
  EXPECT_EQ(asked.status, OKAPI_OK) << asked.message();
  if (asked.status != OKAPI_OK) return "";
  std::vector<char> buffer(needed, 'x');
  const Outcome filled =
      call([&](okapi_error** error) { return get(buffer.data(), buffer.size(), nullptr, error); });
  EXPECT_EQ(filled.status, OKAPI_OK) << filled.message();
  EXPECT_EQ(buffer.back(), '\0');
  return {buffer.data(), buffer.size() - 1};
}

template <typename Get>
Json json_of(Get&& get) {
  return Json::parse(text_of(get));
}

/// Expects a failure with this status, naming this field, and no object.
inline void expect_refusal(const Outcome& outcome, okapi_status status, const std::string& field) {
  EXPECT_EQ(outcome.status, status) << outcome.message();
  EXPECT_EQ(outcome.field(), field) << outcome.message();
}

}  // namespace okapi::test
