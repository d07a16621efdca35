#include "runtime/model/delta.h"

#include <okapi/delta.h>

#include "capi/src/cancel_object.h"
#include "capi/src/dtype.h"
#include "capi/src/field_ends.h"
#include "capi/src/options.h"
#include "capi/src/progress.h"
#include "capi/src/text_out.h"
#include "runtime/model/safetensors.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

namespace {

/// The caller's options as the engine's, for as long as this lives.
class Call {
 public:
  Call(const char* stage, const okapi_delta_options* options)
      : given_(read_struct(options, "options", "OKAPI_DELTA_OPTIONS_INIT")),
        progress_(stage, given_.progress, given_.progress_user_data),
        cancel_(token_of(given_.cancel)) {
    chosen_.dtype = dtype_of(given_.dtype, "options.dtype");
    chosen_.cancel = cancel_.get();
    if (progress_.is_wanted()) {
      chosen_.progress = [this](int64_t done, int64_t total) { progress_.report(done, total); };
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const okapi::DeltaOptions& options() const { return chosen_; }

 private:
  const okapi_delta_options given_;
  Progress progress_;
  std::shared_ptr<okapi::CancelToken> cancel_;
  okapi::DeltaOptions chosen_;
};

}  // namespace

okapi_status okapi_delta_make(const char* base, const char* tuned, const char* delta,
                              const okapi_delta_options* options, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(base, "base");
    require(tuned, "tuned");
    require(delta, "delta");
    const Call call("delta", options);
    okapi::make_delta(base, tuned, delta, call.options());
  });
}

okapi_status okapi_delta_check(const char* base, const char* delta,
                               const okapi_delta_options* options, char* buffer, size_t capacity,
                               size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(base, "base");
    require(delta, "delta");
    check_buffer(buffer, capacity, "buffer");
    const Call call("check", options);
    if (call.options().dtype) refuse("options.dtype", "must be 0 in a check");
    const okapi::DeltaInfo info = okapi::check_delta(base, delta, call.options());
    copy_json(okapi::Json{{"base_sha256", info.base_sha256},
                          {"tuned_sha256", info.tuned_sha256},
                          {"rope", info.rope},
                          {"dtype", okapi::safetensors_name(info.dtype)}},
              buffer, capacity, needed);
  });
}

okapi_status okapi_delta_apply(const char* base, const char* delta, const char* out,
                               const okapi_delta_options* options, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(base, "base");
    require(delta, "delta");
    require(out, "out");
    const Call call("apply", options);
    okapi::apply_delta(base, delta, out, call.options());
  });
}
