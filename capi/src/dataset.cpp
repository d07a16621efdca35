#include "capi/src/dataset_object.h"
#include "capi/src/objects.h"
#include "capi/src/text_out.h"
#include "runtime/plugin_host/plugin_host.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

okapi_status okapi_dataset_open(okapi_runtime* runtime, const char* name, const char* parameters,
                                uint64_t seed, okapi_dataset** dataset, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(dataset, "dataset");
    require(runtime, "runtime");
    require(name, "name");
    const okapi::Json given = parse_parameters(parameters, "parameters");
    const auto plugin = runtime->context->plugin_host().dataset(name);
    *dataset = new okapi_dataset(runtime->context, plugin->open(given, seed, nullptr));
  });
}

okapi_dataset* okapi_dataset_ref(okapi_dataset* dataset) { return ref(__func__, dataset); }

void okapi_dataset_unref(okapi_dataset* dataset) { unref(__func__, dataset); }

int64_t okapi_dataset_count(const okapi_dataset* dataset) {
  return guard_value(__func__, int64_t{0},
                     [&] { return dataset != nullptr ? dataset->dataset->count() : 0; });
}

okapi_status okapi_dataset_record(const okapi_dataset* dataset, int64_t index, char* buffer,
                                  size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(dataset, "dataset")->dataset->record(index).json(), buffer, capacity, needed);
  });
}

okapi_status okapi_dataset_describe(const okapi_dataset* dataset, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(dataset, "dataset")->dataset->describe(), buffer, capacity, needed);
  });
}
