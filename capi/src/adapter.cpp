#include <okapi/adapter.h>

#include "capi/src/cancel_object.h"
#include "capi/src/dtype.h"
#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/progress.h"
#include "capi/src/text_out.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/merge_adapter.h"
#include "runtime/model/model.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

okapi_status okapi_adapter_open(okapi_model* model, const char* path, okapi_adapter** adapter,
                                okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(adapter, "adapter");
    require(model, "model");
    require_path(path, "path");
    *adapter = new okapi_adapter(okapi::AdapterWeights::attach(
        model->model, okapi::Adapter::load(path, model->model->config())));
  });
}

okapi_adapter* okapi_adapter_ref(okapi_adapter* adapter) { return ref(__func__, adapter); }

void okapi_adapter_unref(okapi_adapter* adapter) { unref(__func__, adapter); }

okapi_status okapi_adapter_describe(const okapi_adapter* adapter, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(adapter, "adapter")->adapter->describe(), buffer, capacity, needed);
  });
}

okapi_status okapi_adapter_save(const okapi_adapter* adapter, const char* folder,
                                okapi_error** error) {
  return guard(__func__, error, [&] {
    const okapi::AdapterWeights& weights = *require(adapter, "adapter")->adapter;
    require_path(folder, "folder");
    weights.download().save(folder, weights.model()->path());
  });
}

okapi_status okapi_adapter_merge(const char* base, const char* adapter, const char* out,
                                 const okapi_merge_options* options, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(base, "base");
    require(adapter, "adapter");
    require(out, "out");
    const auto given = read_struct(options, "options", "OKAPI_MERGE_OPTIONS_INIT");
    Progress progress("merge", given.progress, given.progress_user_data);
    const auto cancel = token_of(given.cancel);
    okapi::MergeOptions chosen;
    chosen.dtype = dtype_of(given.dtype, "options.dtype");
    chosen.cancel = cancel.get();
    if (progress.is_wanted()) {
      chosen.progress = [&](int64_t done, int64_t total) { progress.report(done, total); };
    }
    okapi::merge_adapter(base, adapter, out, chosen);
  });
}
