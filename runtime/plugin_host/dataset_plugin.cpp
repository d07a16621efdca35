#include "runtime/plugin_host/dataset_plugin.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/plugin_host/plugin_call.h"
#include "runtime/plugin_host/plugin_table.h"

namespace okapi {

DatasetPlugin::DatasetPlugin(std::shared_ptr<const LoadedPlugin> plugin)
    : plugin_(std::move(plugin)),
      identity_(plugin_->identity()),
      table_(read_plugin_table(
          static_cast<const okapi_dataset_v1*>(plugin_->extension(OKAPI_DATASET_EXTENSION)),
          sizeof(okapi_dataset_v1), plugin_->metadata().parameters.owner())) {}

std::shared_ptr<const Dataset> DatasetPlugin::open(
    const Json& params, uint64_t seed, std::shared_ptr<const TokenizerFunctions> tokenizer) const {
  return std::make_shared<const Dataset>(shared_from_this(), parameters().resolve(params, nullptr),
                                         seed, std::move(tokenizer));
}

Dataset::Dataset(std::shared_ptr<const DatasetPlugin> plugin,
                 std::shared_ptr<const ParamValues> params, uint64_t seed,
                 std::shared_ptr<const TokenizerFunctions> tokenizer)
    : plugin_(std::move(plugin)),
      params_(std::move(params)),
      seed_(seed),
      host_(plugin_->plugin_->logger(), component(), std::move(tokenizer)) {
  const okapi_dataset_v1& table = plugin_->table_;
  call_plugin(component(), [&](const okapi_error_sink* sink) {
    return table.open(plugin_->plugin_->state(), params_->table(), seed_, host_.table(), &instance_,
                      sink);
  });
  try {
    call_plugin(component(), [&](const okapi_error_sink* sink) {
      return table.count(instance_, &count_, sink);
    });
    if (count_ < -1) {
      throw Error(Code::internal,
                  component() + ": count: wanted at least -1, found " + std::to_string(count_))
          .in(component())
          .field("count");
    }
  } catch (...) {
    table.close(instance_);
    throw;
  }
}

Dataset::~Dataset() { plugin_->table_.close(instance_); }

std::unique_lock<std::mutex> Dataset::lock() const {
  if ((plugin_->table_.flags & OKAPI_DATASET_THREAD_SAFE) != 0) return {};
  return std::unique_lock(mutex_);
}

RecordData Dataset::record(int64_t index) const {
  if (index < 0 || (count_ >= 0 && index >= count_)) {
    throw Error(Code::out_of_range, component() + ": wanted record " + std::to_string(index) +
                                        " of " + std::to_string(count_))
        .in(component())
        .field("index");
  }
  const Arena arena;
  okapi_record record{};
  record.struct_size = sizeof record;
  const std::unique_lock<std::mutex> held = lock();
  call_plugin(component(), [&](const okapi_error_sink* sink) {
    return plugin_->table_.record(instance_, index, arena.table(), &record, sink);
  });
  if (record.kind == nullptr || (record.n_fields > 0 && record.fields == nullptr)) {
    throw Error(Code::internal,
                component() + ": record " + std::to_string(index) + " has no kind or fields")
        .in(component());
  }
  return {record.kind, copy_fields(record.fields, record.n_fields, component())};
}

Json Dataset::describe() const {
  return {{"plugin", identity().json()},
          {"parameters", Json::parse(params_->json_text())},
          {"seed", seed_},
          {"count", count_}};
}

}  // namespace okapi
