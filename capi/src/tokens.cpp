#include <okapi/tokens.h>

#include "capi/src/cancel_object.h"
#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/progress.h"
#include "capi/src/text_out.h"
#include "runtime/data/open.h"
#include "runtime/data/token_file.h"
#include "runtime/plugin_host/plugin_host.h"
#include "runtime/runtime_context.h"
#include "runtime/tokenizer/tokenizer.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

namespace {

okapi::Json describe(const okapi::TokenStore& store) {
  int64_t n_learned = 0;
  for (int64_t i = 0; i < store.n_documents(); ++i) {
    for (const okapi::LearnedRange& range : store.learned(i)) n_learned += range.end - range.begin;
  }
  okapi::Json json = store.description();
  json["n_documents"] = store.n_documents();
  json["n_tokens"] = store.n_tokens();
  json["n_learned"] = n_learned;
  json["sha256"] = store.sha256();
  return json;
}

}  // namespace

okapi_status okapi_tokens_prepare(okapi_runtime* runtime, const okapi_tokenizer* tokenizer,
                                  const char* config, const char* path,
                                  const okapi_tokens_options* options, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(runtime, "runtime");
    require(tokenizer, "tokenizer");
    require_path(path, "path");
    const okapi::Json json = parse_json_argument(require(config, "config"), "config");
    const auto given = read_struct(options, "options", "OKAPI_TOKENS_OPTIONS_INIT");
    check_reserved(given.reserved, "options.reserved");

    Progress progress("prepare", given.progress, given.progress_user_data);
    okapi::DataOptions engine_options;
    engine_options.n_threads = runtime->context->n_threads();
    if (progress.is_wanted()) {
      engine_options.progress = [&](int64_t done, int64_t total) { progress.report(done, total); };
    }
    if (given.cancel != nullptr) engine_options.cancel = given.cancel->token.get();
    okapi::prepare_tokens(json, tokenizer->tokenizer, runtime->context->plugin_host(), given.seed,
                          path, engine_options);
  });
}

okapi_status okapi_tokens_describe(okapi_runtime* runtime, const char* path, uint8_t verify,
                                   char* buffer, size_t capacity, size_t* needed,
                                   okapi_error** error) {
  return guard(__func__, error, [&] {
    require(runtime, "runtime");
    check_boolean(verify, "verify");
    const auto store = okapi::open_token_file(require_path(path, "path"));
    if (verify == 1) store->verify();
    copy_json(describe(*store), buffer, capacity, needed);
  });
}
