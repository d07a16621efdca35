// What the C++ helpers for schemes, datasets and tasks share: declared parameters as constants,
// exceptions instead of statuses, the host's services as classes. Header only, C++20; stands on the
// C headers and never replaces them.
//
//   static constexpr okapi::Param kParams[] = {
//       {"length", 512, "tokens of the prompt", okapi::at_least(1)},
//       {"style", okapi::choice("longchat", "longchat|compact"), "wording"},
//   };
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <okapi/plugin/host.h>
#include <okapi/plugin/param_json.hpp>

namespace okapi {

/// Thrown by a plugin's code; becomes the status and the report of the function it leaves.
class Failure : public std::exception {
 public:
  Failure(int32_t status, std::string message, std::string field = {})
      : status_(status), message_(std::move(message)), field_(std::move(field)) {}

  int32_t status() const noexcept { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& field() const noexcept { return field_; }

 private:
  int32_t status_;
  std::string message_;
  std::string field_;
};

/// Refuses what the user gave: "scale must be at least 1".
inline void require(bool holds, std::string_view message, std::string_view field = {}) {
  if (!holds) throw Failure(OKAPI_INVALID_ARGUMENT, std::string(message), std::string(field));
}

/// Runs `body` and turns what it throws into a status and a report.
template <typename Body>
int32_t guard(const okapi_error_sink* sink, Body&& body) noexcept {
  const auto fail = [sink](int32_t status, const char* field, const char* message) {
    if (sink != nullptr) sink->report(sink, field, message);
    return status;
  };
  try {
    body();
    return OKAPI_OK;
  } catch (const Failure& failure) {
    const char* field = failure.field().empty() ? nullptr : failure.field().c_str();
    return fail(failure.status(), field, failure.what());
  } catch (const std::bad_alloc&) {
    return fail(OKAPI_RESOURCE_EXHAUSTED, nullptr, "out of memory");
  } catch (const std::exception& error) {
    return fail(OKAPI_INTERNAL, nullptr, error.what());
  } catch (...) {
    return fail(OKAPI_INTERNAL, nullptr, "threw something that is no std::exception");
  }
}

/// The checked parameters, copied: they outlive the call that brought them.
class Params {
 public:
  Params() = default;
  explicit Params(const okapi_params& params) : json_(params.json) {
    for (uint32_t i = 0; i < params.n_values; ++i) {
      const okapi_param& from = params.values[i];
      values_.push_back({from.name,
                         from.text == nullptr ? "" : from.text,
                         from.source,
                         from.number,
                         from.integer,
                         {from.numbers, from.numbers + from.n_numbers}});
    }
  }

  /// False when it was declared without a default and not given.
  bool has(std::string_view name) const { return find(name).source != OKAPI_PARAM_UNSET; }

  /// True when the user gave it, false when it comes from the model or the declaration.
  bool given(std::string_view name) const { return find(name).source == OKAPI_PARAM_GIVEN; }

  double number(std::string_view name) const { return set(name).number; }
  int64_t integer(std::string_view name) const { return set(name).integer; }
  bool boolean(std::string_view name) const { return set(name).integer != 0; }
  const std::string& text(std::string_view name) const { return set(name).text; }
  const std::vector<double>& list(std::string_view name) const { return set(name).numbers; }

  /// All of them as one JSON object.
  const std::string& json() const { return json_; }

 private:
  struct Value {
    std::string name;
    std::string text;
    int32_t source;
    double number;
    int64_t integer;
    std::vector<double> numbers;
  };

  const Value& find(std::string_view name) const {
    for (const Value& value : values_) {
      if (value.name == name) return value;
    }
    throw Failure(OKAPI_INTERNAL, "asks for a parameter that it does not declare",
                  std::string(name));
  }

  const Value& set(std::string_view name) const {
    const Value& value = find(name);
    require(value.source != OKAPI_PARAM_UNSET, "is needed here", name);
    return value;
  }

  std::vector<Value> values_;
  std::string json_;
};

/// A stream of random numbers from the host; draws depend on seed, stream and order alone.
class Random {
 public:
  explicit Random(okapi_random* random) : random_(random) {}
  explicit Random(const okapi_random& random) : own_(random) {}

  uint64_t next() { return state()->next(state()); }
  double uniform() { return state()->uniform(state()); }
  int64_t uniform_int(int64_t low, int64_t high) {
    return state()->uniform_int(state(), low, high);
  }

  /// Every order equally likely (Fisher and Yates).
  template <typename T>
  void shuffle(std::span<T> values) {
    for (size_t left = values.size(); left > 1; --left) {
      using std::swap;
      swap(values[left - 1], values[static_cast<size_t>(uniform_int(0, int64_t(left) - 1))]);
    }
  }

 private:
  okapi_random* state() { return random_ != nullptr ? random_ : &own_; }

  okapi_random* random_ = nullptr;
  okapi_random own_{};
};

namespace detail {

/// An error sink that keeps the message, for calls that a plugin makes into its host.
class CaughtError {
 public:
  CaughtError() {
    sink_.struct_size = sizeof sink_;
    sink_.context = this;
    sink_.report = [](const okapi_error_sink* sink, const char* field, const char* message) {
      auto* self = static_cast<CaughtError*>(sink->context);
      self->field_ = field == nullptr ? "" : field;
      self->message_ = message == nullptr ? "" : message;
    };
  }

  const okapi_error_sink* sink() const { return &sink_; }
  void check(int32_t status) const {
    if (status != OKAPI_OK) throw Failure(status, message_, field_);
  }

 private:
  okapi_error_sink sink_{};
  std::string field_;
  std::string message_;
};

}  // namespace detail

/// The tokenizer of the model a dataset or task will meet. Functions throw Failure.
class Tokenizer {
 public:
  explicit Tokenizer(const okapi_tokenizer_service_v1* service) : service_(service) {}

  int32_t vocab_size() const { return service_->vocab_size; }
  int32_t bos_id() const { return service_->bos_id; }
  int32_t eos_id() const { return service_->eos_id; }

  std::vector<int32_t> encode(std::string_view text, bool add_bos) const {
    // A token takes at least a byte, but for the few that a tokenizer puts before a text.
    std::vector<int32_t> ids(text.size() + 8);
    int64_t n_ids = 0;
    int32_t status = encode_into(text, add_bos, ids, n_ids);
    if (status == OKAPI_OUT_OF_RANGE) {
      ids.resize(static_cast<size_t>(n_ids));
      status = encode_into(text, add_bos, ids, n_ids);
    }
    ids.resize(static_cast<size_t>(n_ids));
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const {
    detail::CaughtError error;
    int64_t n_bytes = 0;
    const auto n_ids = static_cast<int64_t>(ids.size());
    error.check(service_->decode(service_, ids.data(), n_ids, nullptr, 0, &n_bytes, error.sink()));
    std::string text(static_cast<size_t>(n_bytes), '\0');
    error.check(service_->decode(service_, ids.data(), n_ids, text.data(), n_bytes, &n_bytes,
                                 error.sink()));
    return text;
  }

  int64_t count(std::string_view text, bool add_bos) const {
    detail::CaughtError error;
    int64_t n_ids = 0;
    error.check(service_->count(service_, text.data(), static_cast<int64_t>(text.size()), add_bos,
                                &n_ids, error.sink()));
    return n_ids;
  }

  struct Fit {
    int64_t n_pieces;  ///< the most that fit
    int64_t n_tokens;  ///< of the text with that many
  };

  /// The most pieces with which head + pieces + tail has at most `max_tokens` ids.
  Fit fit(const std::string& head, std::span<const std::string> pieces, const std::string& tail,
          bool add_bos, int64_t max_tokens) const {
    std::vector<const char*> texts;
    for (const std::string& piece : pieces) texts.push_back(piece.c_str());
    detail::CaughtError error;
    Fit fit{};
    error.check(service_->fit(service_, head.c_str(), texts.data(),
                              static_cast<int64_t>(texts.size()), tail.c_str(), add_bos, max_tokens,
                              &fit.n_pieces, &fit.n_tokens, error.sink()));
    return fit;
  }

 private:
  int32_t encode_into(std::string_view text, bool add_bos, std::vector<int32_t>& ids,
                      int64_t& n_ids) const {
    detail::CaughtError error;
    const int32_t status =
        service_->encode(service_, text.data(), static_cast<int64_t>(text.size()), add_bos,
                         ids.data(), static_cast<int64_t>(ids.size()), &n_ids, error.sink());
    if (status != OKAPI_OUT_OF_RANGE || n_ids <= static_cast<int64_t>(ids.size()))
      error.check(status);
    return status;
  }

  const okapi_tokenizer_service_v1* service_;
};

/// The host's table.
class Host {
 public:
  explicit Host(const okapi_host* host) : host_(host) {}

  void log(int32_t level, const std::string& message) const {
    host_->log(host_, level, message.c_str());
  }

  Random random(uint64_t seed, uint64_t stream) const {
    okapi_random random{};
    host_->random(host_, seed, stream, &random);
    return Random(random);
  }

  /// Nothing when there is no model, or the model has no tokenizer.
  std::optional<Tokenizer> tokenizer() const {
    const void* service = host_->get_extension(host_, OKAPI_TOKENIZER_SERVICE);
    if (service == nullptr) return std::nullopt;
    return Tokenizer(static_cast<const okapi_tokenizer_service_v1*>(service));
  }

  const okapi_host* table() const { return host_; }

 private:
  const okapi_host* host_;
};

// What okapi_add_plugin() in OkapiPlugin.cmake defines from its arguments.
#ifndef OKAPI_PLUGIN_VENDOR
#define OKAPI_PLUGIN_VENDOR "local"
#endif
#ifndef OKAPI_PLUGIN_VERSION
#define OKAPI_PLUGIN_VERSION "0.0.0"
#endif
#ifndef OKAPI_PLUGIN_LICENSE
#define OKAPI_PLUGIN_LICENSE "unknown"
#endif

namespace detail {

/// The texts of an entry, before they are copied into its arrays.
struct EntryTexts {
  std::string_view kind;  ///< "rope"
  std::string_view name;
  std::string_view summary;
  std::string_view vendor = OKAPI_PLUGIN_VENDOR;
  std::string_view version = OKAPI_PLUGIN_VERSION;
  std::string_view license = OKAPI_PLUGIN_LICENSE;
};

/// A plugin without state of its own: its table is a constant.
template <const auto& kTable, const auto& kExtension>
struct Stateless {
  static int32_t init(const okapi_host* host, void** state, const okapi_error_sink*) {
    *state = const_cast<okapi_host*>(host);
    return OKAPI_OK;
  }
  static const void* get_extension(void*, const char* id) {
    return std::strcmp(id, kExtension) == 0 ? &kTable : nullptr;
  }
};

template <typename Plugin>
constexpr okapi_plugin_entry make_entry(const EntryTexts& texts, std::span<const Param> params) {
  okapi_plugin_entry entry{};
  entry.struct_size = sizeof entry;
  entry.abi_major = OKAPI_PLUGIN_ABI_MAJOR;
  entry.magic = OKAPI_PLUGIN_MAGIC;
  entry.abi_minor_needed = OKAPI_PLUGIN_ABI_MINOR;
  TextWriter(entry.built_with).put(OKAPI_PLUGIN_HEADER);
  TextWriter(entry.id).put(texts.vendor).put(".").put(texts.kind).put(".").put(texts.name);
  TextWriter(entry.name).put(texts.name);
  TextWriter(entry.version).put(texts.version);
  TextWriter(entry.license).put(texts.license);
  TextWriter(entry.summary).put(texts.summary);
  TextWriter(entry.extensions).put("okapi.").put(texts.kind).put("/1");
  write_params(TextWriter(entry.parameters), params);
  entry.init = Plugin::init;
  entry.get_extension = Plugin::get_extension;
  return entry;
}

}  // namespace detail
}  // namespace okapi
