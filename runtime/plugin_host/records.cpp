#include "runtime/plugin_host/records.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/json_depth.h"
#include "runtime/plugin_host/plugin_call.h"
#include "runtime/plugin_host/plugin_metadata.h"

namespace okapi {

namespace {

class JsonRecords : public RecordSource {
 public:
  JsonRecords(std::vector<RecordData> records, std::string name)
      : records_(std::move(records)), name_(std::move(name)) {}

  const std::string& name() const override { return name_; }
  int64_t count() const override { return static_cast<int64_t>(records_.size()); }

  RecordData record(int64_t index) const override {
    if (index < 0 || index >= count()) {
      throw Error(Code::out_of_range,
                  "wanted record " + std::to_string(index) + " of " + std::to_string(count()))
          .at(name_);
    }
    return records_[static_cast<size_t>(index)];
  }

 private:
  std::vector<RecordData> records_;
  std::string name_;
};

RecordData record_of(const Json& object) {
  RecordData record{OKAPI_RECORD_PROMPT, {}};
  for (const auto& item : object.items()) {
    const Json& value = item.value();
    RecordField field{item.key(), OKAPI_FIELD_JSON, 0, {}};
    if (value.is_string()) {
      field.type = OKAPI_FIELD_TEXT;
      field.text = value.get<std::string>();
    } else if (value.is_number()) {
      field.type = OKAPI_FIELD_NUMBER;
      field.number = value.get<double>();
    } else {
      field.text = value.dump();
    }
    record.fields.push_back(std::move(field));
  }
  return record;
}

/// Memory of the plugin's arena. Throws when it has none.
template <typename T>
T* allocate(const okapi_arena* arena, size_t n) {
  void* memory = arena->allocate(arena, std::max<size_t>(1, n * sizeof(T)));
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<T*>(memory);
}

const char* copy_text(const okapi_arena* arena, const std::string& text) {
  char* copy = allocate<char>(arena, text.size() + 1);
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

void lend_record(const RecordData& from, const okapi_arena* arena, okapi_record* to) {
  auto* fields = allocate<okapi_field>(arena, from.fields.size());
  for (size_t i = 0; i < from.fields.size(); ++i) {
    const RecordField& field = from.fields[i];
    fields[i] = {copy_text(arena, field.name),
                 field.type,
                 0,
                 field.number,
                 copy_text(arena, field.text),
                 static_cast<int64_t>(field.text.size())};
  }
  to->kind = copy_text(arena, from.kind);
  to->fields = fields;
  to->n_fields = static_cast<uint32_t>(from.fields.size());
}

Error bad_field(const std::string& component, const std::string& field,
                const std::string& problem) {
  return Error(Code::internal, component + ": field " + field + ": " + problem)
      .in(component)
      .field(field);
}

}  // namespace

Json RecordField::json() const {
  switch (type) {
    case OKAPI_FIELD_NUMBER:
      if (number == std::floor(number) && std::fabs(number) < 9e15)
        return static_cast<int64_t>(number);
      return number;
    case OKAPI_FIELD_JSON:
      return Json::parse(text);
    default:
      return text;
  }
}

std::vector<RecordField> copy_fields(const okapi_field* fields, size_t n_fields,
                                     const std::string& component) {
  std::vector<RecordField> copies;
  std::set<std::string> seen;
  for (size_t i = 0; i < n_fields; ++i) {
    const okapi_field& from = fields[i];
    if (from.name == nullptr || *from.name == '\0') {
      throw bad_field(component, std::to_string(i), "has no name");
    }
    RecordField field{from.name, from.type, from.number, {}};
    if (!seen.insert(field.name).second) throw bad_field(component, field.name, "is there twice");
    if (from.type == OKAPI_FIELD_NUMBER) {
      if (!std::isfinite(from.number)) throw bad_field(component, field.name, "is not finite");
    } else if (from.type == OKAPI_FIELD_TEXT || from.type == OKAPI_FIELD_JSON) {
      if (from.text == nullptr || from.n_bytes < 0)
        throw bad_field(component, field.name, "has no text");
      field.text.assign(from.text, static_cast<size_t>(from.n_bytes));
      if (!is_utf8(field.text)) throw bad_field(component, field.name, "is not UTF-8");
      if (from.type == OKAPI_FIELD_JSON &&
          (!nests_within(field.text) || !Json::accept(field.text))) {
        throw bad_field(component, field.name, "is not JSON, or is nested deeper than 64");
      }
    } else {
      throw bad_field(component, field.name, "has no known type: " + std::to_string(from.type));
    }
    copies.push_back(std::move(field));
  }
  return copies;
}

Json fields_json(const std::vector<RecordField>& fields) {
  Json object = Json::object();
  for (const RecordField& field : fields) object[field.name] = field.json();
  return object;
}

Json RecordData::json() const {
  Json object = fields_json(fields);
  object["kind"] = kind;
  return object;
}

std::shared_ptr<const RecordSource> records_from_json(const Json& array, std::string name) {
  if (!array.is_array()) {
    throw Error(Code::invalid_argument, "records: wanted an array, found " + describe_json(array))
        .at(name);
  }
  std::vector<RecordData> records;
  for (const Json& element : array) {
    if (!element.is_object()) {
      throw Error(Code::invalid_argument, "record " + std::to_string(records.size()) +
                                              ": wanted an object, found " + describe_json(element))
          .at(name);
    }
    records.push_back(record_of(element));
  }
  return std::make_shared<JsonRecords>(std::move(records), std::move(name));
}

LentRecords::LentRecords(std::shared_ptr<const RecordSource> source) : source_(std::move(source)) {
  if (source_ == nullptr) return;
  table_.struct_size = sizeof table_;
  table_.context = const_cast<RecordSource*>(source_.get());  // used as const again below
  table_.name = source_->name().c_str();
  table_.count = [](const okapi_records* records, int64_t* count,
                    const okapi_error_sink* sink) -> int32_t {
    try {
      *count = static_cast<const RecordSource*>(records->context)->count();
      return OKAPI_OK;
    } catch (...) {
      return report_exception(sink);
    }
  };
  table_.record = [](const okapi_records* records, int64_t index, const okapi_arena* arena,
                     okapi_record* record, const okapi_error_sink* sink) -> int32_t {
    try {
      lend_record(static_cast<const RecordSource*>(records->context)->record(index), arena, record);
      return OKAPI_OK;
    } catch (...) {
      return report_exception(sink);
    }
  };
}

}  // namespace okapi
