// A task as a C++ class. See task.h for what items and scores hold.
//
//   class Lines {
//    public:
//     Lines(const okapi::Params& params, uint64_t seed, okapi::Host host, okapi::Records records);
//     int64_t count() const;
//     okapi::Item item(int64_t index) const;     // const: calls may overlap
//     okapi::Score score(const okapi::ScoredItem& item, const okapi::Output& output) const;
//   };
//   OKAPI_TASK_PLUGIN("lines", "retrieve a line", Lines, .version = "1", .metrics = kMetrics,
//                     .params = kParams)
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <okapi/plugin/task.h>
#include <okapi/plugin/dataset.hpp>

namespace okapi {

namespace detail {

/// Memory for records that a plugin asks its host for.
class LocalArena {
 public:
  LocalArena() {
    arena_.struct_size = sizeof arena_;
    arena_.context = this;
    arena_.allocate = [](const okapi_arena* arena, size_t n_bytes) -> void* {
      try {
        auto& blocks = static_cast<LocalArena*>(arena->context)->blocks_;
        return blocks.emplace_back(new char[n_bytes]()).get();
      } catch (const std::bad_alloc&) {
        return nullptr;
      }
    };
  }
  LocalArena(const LocalArena&) = delete;
  LocalArena& operator=(const LocalArena&) = delete;

  const okapi_arena* table() const { return &arena_; }

 private:
  okapi_arena arena_{};
  std::vector<std::unique_ptr<char[]>> blocks_;
};

}  // namespace detail

/// The records a task was opened with: a dataset's, or prompts of a file. Functions throw Failure.
class Records {
 public:
  explicit Records(const okapi_records* records) : records_(records) {}

  /// False when the task was opened without.
  bool any() const { return records_ != nullptr; }

  /// The dataset plugin, or the file.
  std::string name() const { return records_->name; }

  /// -1: endless.
  int64_t count() const {
    detail::CaughtError error;
    int64_t count = 0;
    error.check(records_->count(records_, &count, error.sink()));
    return count;
  }

  Record record(int64_t index) const {
    detail::CaughtError error;
    detail::LocalArena arena;
    okapi_record record{};
    record.struct_size = sizeof record;
    error.check(records_->record(records_, index, arena.table(), &record, error.sink()));
    return Record(record);
  }

 private:
  const okapi_records* records_;
};

/// A part of a prompt: text to encode, or ids as they are.
struct ItemPart {
  ItemPart(std::string part) : text(std::move(part)) {}  // NOLINT(google-explicit-constructor)
  ItemPart(std::vector<int32_t> part)                    // NOLINT(google-explicit-constructor)
      : ids(std::move(part)), is_ids(true) {}

  std::string text;
  std::vector<int32_t> ids;
  bool is_ids = false;
};

/// One question to a model; the meaning of the fields is that of okapi_item.
struct Item {
  int32_t kind = OKAPI_ITEM_COMPLETE;
  std::string key;
  std::vector<ItemPart> parts;
  int32_t bos = OKAPI_BOS_MODEL;
  bool ignores_eos = false;
  int64_t target_length = 0;
  int64_t min_new_tokens = 0;
  int64_t max_new_tokens = 0;
  std::vector<std::string> stop_texts;
  std::vector<int32_t> stop_ids;
  int64_t scored_begin = 0;
  int64_t scored_end = 0;
  std::vector<Field> attributes;
  std::string scoring_data;

  Item& attribute(std::string name, double value) {
    attributes.push_back({std::move(name), OKAPI_FIELD_NUMBER, value, {}});
    return *this;
  }
  Item& attribute(std::string name, std::string value) {
    attributes.push_back({std::move(name), OKAPI_FIELD_TEXT, 0, std::move(value)});
    return *this;
  }
};

/// The item being scored, as the host gives it back.
struct ScoredItem {
  explicit ScoredItem(const okapi_item& from)
      : table(from),
        scoring_data(static_cast<const char*>(from.scoring_data),
                     static_cast<size_t>(from.n_scoring_bytes)) {}

  const okapi_item& table;
  std::string_view scoring_data;
};

/// What the model made of it.
struct Output {
  explicit Output(const okapi_item_output& from)
      : stop_reason(from.stop_reason),
        text(from.text == nullptr ? "" : std::string_view(from.text, size_t(from.n_bytes))),
        ids(from.ids, static_cast<size_t>(from.n_ids)),
        losses(from.losses, static_cast<size_t>(from.n_losses)),
        n_prompt_tokens(from.n_prompt_tokens) {}

  int32_t stop_reason;
  std::string_view text;
  std::span<const int32_t> ids;
  std::span<const double> losses;  ///< nats
  int64_t n_prompt_tokens;
};

/// Named numbers, and what the answer was taken to be.
struct Score {
  struct Value {
    std::string name;
    double value;
    double weight = 1;
  };

  std::vector<Value> values;
  std::optional<std::string> parsed;

  Score& flag(std::string name, bool holds) { return number(std::move(name), holds ? 1 : 0); }
  Score& number(std::string name, double value, double weight = 1) {
    values.push_back({std::move(name), value, weight});
    return *this;
  }
};

/// What OKAPI_TASK_PLUGIN names.
struct TaskPlugin {
  const char* version = "1";  ///< changes whenever the same output could score otherwise
  std::span<const okapi_metric> metrics = {};  ///< the first is the one to print
  std::span<const char* const> group_by = {};  ///< attributes that results are broken down by
  const char* default_dataset = nullptr;       ///< dataset plugin to open when no records are given
  uint32_t flags = 0;                          ///< OKAPI_TASK_*; THREAD_SAFE is added
  std::span<const Param> params = {};
};

namespace detail {

template <typename Task, const TaskPlugin& kPlugin>
struct TaskGlue {
  static int32_t open(void*, const okapi_params* params, uint64_t seed, const okapi_host* host,
                      const okapi_records* records, void** instance, const okapi_error_sink* sink) {
    return guard(
        sink, [&] { *instance = new Task(Params(*params), seed, Host(host), Records(records)); });
  }

  static void close(void* instance) { delete static_cast<Task*>(instance); }

  static int32_t count(void* instance, int64_t* count, const okapi_error_sink* sink) {
    return guard(sink, [&] { *count = static_cast<const Task*>(instance)->count(); });
  }

  static int32_t item(void* instance, int64_t index, const okapi_arena* arena, okapi_item* out,
                      const okapi_error_sink* sink) {
    return guard(sink, [&] {
      const Item item = static_cast<const Task*>(instance)->item(index);
      fill(item, ArenaCopy(arena), *out);
    });
  }

  static int32_t score(void* instance, const okapi_item* item, const okapi_item_output* output,
                       const okapi_arena* arena, okapi_item_score* out,
                       const okapi_error_sink* sink) {
    return guard(sink, [&] {
      const Score score =
          static_cast<const Task*>(instance)->score(ScoredItem(*item), Output(*output));
      const ArenaCopy copy(arena);
      auto* values = copy.array<okapi_metric_value>(score.values.size());
      for (size_t i = 0; i < score.values.size(); ++i) {
        values[i] = {copy.text(score.values[i].name), score.values[i].value,
                     score.values[i].weight};
      }
      out->values = values;
      out->n_values = static_cast<uint32_t>(score.values.size());
      out->parsed = score.parsed.has_value() ? copy.text(*score.parsed) : nullptr;
    });
  }

  static constexpr okapi_task_v1 kTable = {
      .struct_size = sizeof(okapi_task_v1),
      .flags = kPlugin.flags | OKAPI_TASK_THREAD_SAFE,
      .task_version = kPlugin.version,
      .metrics = kPlugin.metrics.data(),
      .n_metrics = static_cast<int64_t>(kPlugin.metrics.size()),
      .group_by = kPlugin.group_by.data(),
      .n_group_by = static_cast<int64_t>(kPlugin.group_by.size()),
      .default_dataset = kPlugin.default_dataset,
      .open = open,
      .close = close,
      .count = count,
      .item = item,
      .score = score,
  };

 private:
  static void fill(const Item& item, const ArenaCopy& copy, okapi_item& out) {
    auto* parts = copy.array<okapi_item_part>(item.parts.size());
    for (size_t i = 0; i < item.parts.size(); ++i) {
      const ItemPart& part = item.parts[i];
      if (part.is_ids) {
        parts[i] = {nullptr, 0, copy.copy<int32_t>(part.ids),
                    static_cast<int64_t>(part.ids.size())};
      } else {
        parts[i] = {copy.text(part.text), static_cast<int64_t>(part.text.size()), nullptr, 0};
      }
    }
    auto* stop_texts = copy.array<const char*>(item.stop_texts.size());
    for (size_t i = 0; i < item.stop_texts.size(); ++i)
      stop_texts[i] = copy.text(item.stop_texts[i]);

    out.kind = item.kind;
    out.key = copy.text(item.key);
    out.parts = parts;
    out.n_parts = static_cast<int64_t>(item.parts.size());
    out.bos = item.bos;
    out.ignores_eos = item.ignores_eos ? 1 : 0;
    out.target_length = item.target_length;
    out.min_new_tokens = item.min_new_tokens;
    out.max_new_tokens = item.max_new_tokens;
    out.stop_texts = stop_texts;
    out.n_stop_texts = static_cast<int64_t>(item.stop_texts.size());
    out.stop_ids = copy.copy<int32_t>(item.stop_ids);
    out.n_stop_ids = static_cast<int64_t>(item.stop_ids.size());
    out.scored_begin = item.scored_begin;
    out.scored_end = item.scored_end;
    out.attributes = copy.fields(item.attributes);
    out.n_attributes = static_cast<int64_t>(item.attributes.size());
    out.scoring_data = copy.text(item.scoring_data);
    out.n_scoring_bytes = static_cast<int64_t>(item.scoring_data.size());
  }
};

inline constexpr const char* kTaskExtension = OKAPI_TASK_EXTENSION;

}  // namespace detail
}  // namespace okapi

/// Exports a task: its name, a one-line summary, its class, then fields of okapi::TaskPlugin.
#define OKAPI_TASK_PLUGIN(plugin_name, plugin_summary, Task, ...)                               \
  static constexpr ::okapi::TaskPlugin kOkapiTaskPlugin = {__VA_ARGS__};                        \
  extern "C" OKAPI_PLUGIN_EXPORT constinit const okapi_plugin_entry okapi_plugin_entry_v1 =     \
      ::okapi::detail::make_entry<                                                              \
          ::okapi::detail::Stateless<::okapi::detail::TaskGlue<Task, kOkapiTaskPlugin>::kTable, \
                                     ::okapi::detail::kTaskExtension>>(                         \
          {.kind = "task", .name = plugin_name, .summary = plugin_summary},                     \
          kOkapiTaskPlugin.params);
