#include "runtime/results/results.h"

#include <string>

#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/results_object.h"
#include "capi/src/text_out.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

okapi_status okapi_results_open(okapi_runtime* runtime, const char* path,
                                const okapi_results_options* options, okapi_results** results,
                                okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(results, "results");
    require(runtime, "runtime");
    require_path(path, "path");
    const auto given = read_struct(options, "options", "OKAPI_RESULTS_OPTIONS_INIT");
    check_boolean(given.read_only, "options.read_only");
    check_reserved(given.reserved, "options.reserved");

    okapi::ResultsOptions chosen;
    chosen.read_only = given.read_only == 1;
    *results = new okapi_results(runtime->context, okapi::Results::open(path, chosen));
  });
}

okapi_results* okapi_results_ref(okapi_results* results) { return ref(__func__, results); }

void okapi_results_unref(okapi_results* results) { unref(__func__, results); }

okapi_status okapi_results_summary(const okapi_results* results, char* buffer, size_t capacity,
                                   size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(results, "results")->results->summary(), buffer, capacity, needed);
  });
}

okapi_status okapi_results_training(const okapi_results* results, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(results, "results")->results->training(), buffer, capacity, needed);
  });
}

okapi_status okapi_results_describe(const okapi_results* results, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(results, "results")->results->describe(), buffer, capacity, needed);
  });
}

okapi_status okapi_results_export(const okapi_results* results, int32_t format, const char* path,
                                  okapi_error** error) {
  return guard(__func__, error, [&] {
    const okapi::Results& store = *require(results, "results")->results;
    require_path(path, "path");
    switch (format) {
      case OKAPI_EXPORT_CSV:
        return store.export_csv(path);
      case OKAPI_EXPORT_JSON:
        return store.export_json(path);
      default:
        refuse("format", ("must be OKAPI_EXPORT_*, is " + std::to_string(format)).c_str());
    }
  });
}
