// The exception of the engine. It carries what the C API reports: code, message, where.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace okapi {

/// Values are those of okapi_status in <okapi/error.h>; a test holds them equal.
enum class Code : int32_t {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};

/// Thrown anywhere in the engine, caught by the guard at each edge.
///
///   throw Error(Code::invalid_argument, "n_heads: 3 does not divide d_model (64)")
///       .in("model").field("n_heads").at("config.json");
class Error : public std::exception {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Error&& in(std::string component) && {
    component_ = std::move(component);
    return std::move(*this);
  }
  Error&& field(std::string name) && {
    field_ = std::move(name);
    return std::move(*this);
  }
  /// A file, and where in it: a byte offset or, for text, a line; -1 when it does not apply.
  Error&& at(std::string file, int64_t offset = -1) && {
    file_ = std::move(file);
    offset_ = offset;
    return std::move(*this);
  }
  Error&& because(const Error& cause) && {
    cause_ = std::make_shared<const Error>(cause);
    return std::move(*this);
  }

  Code code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& component() const noexcept { return component_; }
  const std::string& field_name() const noexcept { return field_; }
  const std::string& file() const noexcept { return file_; }
  int64_t offset() const noexcept { return offset_; }
  const std::shared_ptr<const Error>& cause() const noexcept { return cause_; }
  const char* what() const noexcept override { return message_.c_str(); }

  /// "file:offset: message, because message of the cause", as far as known: one line for a log.
  std::string full_message() const {
    std::string text;
    if (!file_.empty()) {
      text += file_;
      if (offset_ >= 0) text.append(":").append(std::to_string(offset_));
      text += ": ";
    }
    text += message_;
    if (cause_) text += ", because " + cause_->full_message();
    return text;
  }

 private:
  Code code_;
  std::string message_;
  std::string component_;
  std::string field_;
  std::string file_;
  int64_t offset_ = -1;
  std::shared_ptr<const Error> cause_;
};

}  // namespace okapi
