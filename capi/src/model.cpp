#include "runtime/model/model.h"

#include <okapi/model.h>

#include "capi/src/cancel_object.h"
#include "capi/src/dtype.h"
#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/progress.h"
#include "capi/src/text_out.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

namespace {

/// In memory.
std::optional<okapi::DType> weight_dtype(int32_t dtype) {
  if (dtype == OKAPI_DTYPE_F16) {
    throw okapi::Error(okapi::Code::unimplemented, "options.dtype must be F32 or BF16, is F16")
        .field("options.dtype");
  }
  return dtype_of(dtype, "options.dtype");
}

std::optional<okapi::PairLayout> pair_layout(int32_t layout) {
  switch (layout) {
    case OKAPI_PAIR_LAYOUT_DEFAULT:
      return std::nullopt;
    case OKAPI_PAIR_LAYOUT_HALF_SPLIT:
      return okapi::PairLayout::half_split;
    case OKAPI_PAIR_LAYOUT_INTERLEAVED:
      return okapi::PairLayout::interleaved;
    default:
      refuse("options.pair_layout",
             ("must be OKAPI_PAIR_LAYOUT_*, is " + std::to_string(layout)).c_str());
  }
}

/// `progress` must outlive what is returned.
okapi::ModelOptions engine_options(const okapi_model_options& given, Progress& progress) {
  check_boolean(given.without_tokenizer, "options.without_tokenizer");
  check_reserved(given.reserved, "options.reserved");

  okapi::ModelOptions options;
  options.dtype = weight_dtype(given.dtype);
  options.pair_layout = pair_layout(given.pair_layout);
  options.without_tokenizer = given.without_tokenizer == 1;
  if (given.config_file != nullptr) {
    if (*given.config_file == '\0') refuse("options.config_file", "must not be empty");
    options.config_file = given.config_file;
  }
  if (given.tokenizer_file != nullptr) options.tokenizer_file = given.tokenizer_file;
  if (progress.is_wanted()) {
    options.progress = [&progress](int64_t done, int64_t total) { progress.report(done, total); };
  }
  if (given.cancel != nullptr) options.cancel = given.cancel->token.get();
  return options;
}

}  // namespace

okapi_status okapi_model_open(okapi_runtime* runtime, const char* path,
                              const okapi_model_options* options, okapi_model** model,
                              okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(model, "model");
    require(runtime, "runtime");
    require_path(path, "path");
    const auto given = read_struct(options, "options", "OKAPI_MODEL_OPTIONS_INIT");
    if (given.tokenizer_file != nullptr) {
      refuse("options.tokenizer_file", "is of models that are made; a folder brings its own");
    }
    Progress progress("load", given.progress, given.progress_user_data);
    *model = new okapi_model(
        okapi::Model::load(runtime->context, path, engine_options(given, progress)));
  });
}

okapi_status okapi_model_create_random(okapi_runtime* runtime, const char* config_json,
                                       uint64_t seed, const okapi_model_options* options,
                                       okapi_model** model, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(model, "model");
    require(runtime, "runtime");
    require(config_json, "config_json");
    const auto given = read_struct(options, "options", "OKAPI_MODEL_OPTIONS_INIT");
    Progress progress("load", given.progress, given.progress_user_data);
    *model = new okapi_model(
        okapi::Model::random(runtime->context, config_json, seed, engine_options(given, progress)));
  });
}

okapi_model* okapi_model_ref(okapi_model* model) { return ref(__func__, model); }

void okapi_model_unref(okapi_model* model) { unref(__func__, model); }

okapi_status okapi_model_get_info(const okapi_model* model, okapi_model_info* info,
                                  okapi_error** error) {
  return guard(__func__, error, [&] {
    const okapi::Model& found = *require(model, "model")->model;
    const okapi::ModelConfig& config = found.config();

    okapi_model_info filled{};
    filled.dtype = static_cast<int32_t>(found.dtype());
    filled.n_layers = config.n_layers;
    filled.d_model = config.d_model;
    filled.d_ff = config.d_ff;
    filled.vocab_size = config.vocab_size;
    filled.n_heads = config.n_heads;
    filled.n_kv_heads = config.n_kv_heads;
    filled.head_dim = config.head_dim;
    filled.trained_length = config.trained_length;
    filled.base = config.rope_base;
    filled.n_parameters = found.n_parameters();
    filled.weight_bytes = found.weight_bytes();
    filled.kv_bytes_per_token = found.kv_bytes_per_token();
    filled.bos_id = config.bos_id;
    filled.eos_id = config.eos_id;
    filled.has_tokenizer = found.tokenizer() != nullptr ? 1 : 0;
    filled.tied_embeddings = config.tied_embeddings ? 1 : 0;
    write_struct(filled, info, "info", "OKAPI_MODEL_INFO_INIT");
  });
}

okapi_status okapi_model_describe(const okapi_model* model, char* buffer, size_t capacity,
                                  size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(model, "model")->model->describe(), buffer, capacity, needed);
  });
}
