// A dataset as a C++ class. See dataset.h for the rules that its records keep.
//
//   class Words {
//    public:
//     Words(const okapi::Params& params, uint64_t seed, okapi::Host host);
//     int64_t count() const;                        // -1: endless
//     okapi::Record record(int64_t index) const;    // const: calls may overlap
//   };
//   OKAPI_DATASET_PLUGIN("words", "random words", Words, .params = kParams)
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <okapi/plugin/dataset.h>
#include <okapi/plugin/plugin.hpp>

namespace okapi {

/// A named value that owns its text.
struct Field {
  std::string name;
  int32_t type = OKAPI_FIELD_TEXT;
  double number = 0;
  std::string text;
};

/// A record that owns its fields: Record("prompt").text("prompt", p).number("length", 512).
class Record {
 public:
  explicit Record(std::string kind) : kind_(std::move(kind)) {}

  /// A copy of what the host lent.
  explicit Record(const okapi_record& from) : kind_(from.kind) {
    for (uint32_t i = 0; i < from.n_fields; ++i) {
      const okapi_field& field = from.fields[i];
      std::string text;
      if (field.text != nullptr) text.assign(field.text, static_cast<size_t>(field.n_bytes));
      fields_.push_back({field.name, field.type, field.number, std::move(text)});
    }
  }

  Record& text(std::string name, std::string value) {
    fields_.push_back({std::move(name), OKAPI_FIELD_TEXT, 0, std::move(value)});
    return *this;
  }
  Record& number(std::string name, double value) {
    fields_.push_back({std::move(name), OKAPI_FIELD_NUMBER, value, {}});
    return *this;
  }
  /// `value` is JSON text.
  Record& json(std::string name, std::string value) {
    fields_.push_back({std::move(name), OKAPI_FIELD_JSON, 0, std::move(value)});
    return *this;
  }

  const std::string& kind() const { return kind_; }
  const std::vector<Field>& fields() const { return fields_; }

  const Field* find(std::string_view name) const {
    const auto found = std::find_if(fields_.begin(), fields_.end(),
                                    [name](const Field& field) { return field.name == name; });
    return found == fields_.end() ? nullptr : &*found;
  }
  bool has(std::string_view name) const { return find(name) != nullptr; }

  /// Throw Failure when the field is missing or of another type.
  const std::string& text(std::string_view name) const { return get(name, OKAPI_FIELD_TEXT).text; }
  double number(std::string_view name) const { return get(name, OKAPI_FIELD_NUMBER).number; }
  const std::string& json(std::string_view name) const { return get(name, OKAPI_FIELD_JSON).text; }

 private:
  const Field& get(std::string_view name, int32_t type) const {
    const Field* field = find(name);
    require(field != nullptr, "the record has no such field", name);
    require(field->type == type, "the record's field has another type than this reads", name);
    return *field;
  }

  std::string kind_;
  std::vector<Field> fields_;
};

namespace detail {

/// Copies what a plugin returns into the host's arena.
class ArenaCopy {
 public:
  explicit ArenaCopy(const okapi_arena* arena) : arena_(arena) {}

  template <typename T>
  T* array(size_t n) const {
    void* memory = arena_->allocate(arena_, std::max<size_t>(n * sizeof(T), 1));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }

  template <typename T>
  const T* copy(std::span<const T> from) const {
    T* to = array<T>(from.size());
    std::copy(from.begin(), from.end(), to);
    return to;
  }

  /// With a NUL behind it.
  const char* text(std::string_view from) const {
    char* to = array<char>(from.size() + 1);
    std::copy(from.begin(), from.end(), to);
    to[from.size()] = '\0';
    return to;
  }

  const okapi_field* fields(std::span<const Field> from) const {
    auto* to = array<okapi_field>(from.size());
    for (size_t i = 0; i < from.size(); ++i) {
      to[i] = {text(from[i].name), from[i].type,       0,
               from[i].number,     text(from[i].text), static_cast<int64_t>(from[i].text.size())};
    }
    return to;
  }

 private:
  const okapi_arena* arena_;
};

}  // namespace detail

/// What OKAPI_DATASET_PLUGIN names.
struct DatasetPlugin {
  std::span<const Param> params = {};
};

namespace detail {

template <typename Dataset>
struct DatasetGlue {
  static int32_t open(void*, const okapi_params* params, uint64_t seed, const okapi_host* host,
                      void** instance, const okapi_error_sink* sink) {
    return guard(sink, [&] { *instance = new Dataset(Params(*params), seed, Host(host)); });
  }

  static void close(void* instance) { delete static_cast<Dataset*>(instance); }

  static int32_t count(void* instance, int64_t* count, const okapi_error_sink* sink) {
    return guard(sink, [&] { *count = static_cast<const Dataset*>(instance)->count(); });
  }

  static int32_t record(void* instance, int64_t index, const okapi_arena* arena, okapi_record* out,
                        const okapi_error_sink* sink) {
    return guard(sink, [&] {
      const Record record = static_cast<const Dataset*>(instance)->record(index);
      const ArenaCopy copy(arena);
      out->kind = copy.text(record.kind());
      out->fields = copy.fields(record.fields());
      out->n_fields = static_cast<uint32_t>(record.fields().size());
    });
  }

  static constexpr okapi_dataset_v1 kTable = {
      .struct_size = sizeof(okapi_dataset_v1),
      .flags = OKAPI_DATASET_THREAD_SAFE,
      .open = open,
      .close = close,
      .count = count,
      .record = record,
  };
};

inline constexpr const char* kDatasetExtension = OKAPI_DATASET_EXTENSION;

}  // namespace detail
}  // namespace okapi

/// Exports a dataset: its name, a one-line summary, its class, then fields of okapi::DatasetPlugin.
#define OKAPI_DATASET_PLUGIN(plugin_name, plugin_summary, Dataset, ...)                        \
  static constexpr ::okapi::DatasetPlugin kOkapiDatasetPlugin = {__VA_ARGS__};                 \
  extern "C" OKAPI_PLUGIN_EXPORT constinit const okapi_plugin_entry okapi_plugin_entry_v1 =    \
      ::okapi::detail::make_entry<::okapi::detail::Stateless<                                  \
          ::okapi::detail::DatasetGlue<Dataset>::kTable, ::okapi::detail::kDatasetExtension>>( \
          {.kind = "dataset", .name = plugin_name, .summary = plugin_summary},                 \
          kOkapiDatasetPlugin.params);
