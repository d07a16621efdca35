// Records as the engine holds them, and where they come from: a dataset, or prompts that were
// given.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <okapi/plugin/dataset.h>
#include <okapi/plugin/task.h>

#include "runtime/base/json.h"
#include "runtime/plugin_host/arena.h"

namespace okapi {

struct RecordField {
  std::string name;
  int32_t type = OKAPI_FIELD_TEXT;
  double number = 0;
  std::string text;  ///< of a JSON field, its JSON text

  Json json() const;
};

/// Copies fields that a plugin gave. Throws internal, naming `component`, on a name that is missing
/// or repeated, a number that is not finite, text that is not UTF-8, or a broken JSON text.
std::vector<RecordField> copy_fields(const okapi_field* fields, size_t n_fields,
                                     const std::string& component);

/// Fields as one JSON object.
Json fields_json(const std::vector<RecordField>& fields);

struct RecordData {
  std::string kind;
  std::vector<RecordField> fields;

  /// "kind" and the fields.
  Json json() const;
};

/// Records by number. Functions are const and may be called from several threads at once.
class RecordSource {
 public:
  virtual ~RecordSource() = default;

  /// The dataset, or the file.
  virtual const std::string& name() const = 0;
  virtual int64_t count() const = 0;  ///< -1: endless
  /// Throws out_of_range past the end.
  virtual RecordData record(int64_t index) const = 0;
};

/// Records that are the objects of a JSON array: texts and numbers as they are, anything else as
/// JSON text. Their kind is "prompt". Throws invalid_argument naming the element that is no object.
std::shared_ptr<const RecordSource> records_from_json(const Json& array, std::string name);

/// What a task is lent: a source behind the C table.
class LentRecords {
 public:
  explicit LentRecords(std::shared_ptr<const RecordSource> source);
  LentRecords(const LentRecords&) = delete;
  LentRecords& operator=(const LentRecords&) = delete;

  /// Null when there is no source.
  const okapi_records* table() const { return source_ == nullptr ? nullptr : &table_; }

 private:
  std::shared_ptr<const RecordSource> source_;
  okapi_records table_{};
};

}  // namespace okapi
