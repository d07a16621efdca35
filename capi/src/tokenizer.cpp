#include "runtime/tokenizer/tokenizer.h"

#include <okapi/tokenizer.h>

#include <filesystem>
#include <string>
#include <vector>

#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/text_out.h"
#include "runtime/model/model.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

namespace {

constexpr const char* kModelFile = "tokenizer.model";

okapi::Json describe(const okapi::Tokenizer& tokenizer) {
  return {{"kind", "sentencepiece"},      {"path", tokenizer.path()},
          {"sha256", tokenizer.sha256()}, {"vocab_size", tokenizer.vocab_size()},
          {"bos_id", tokenizer.bos_id()}, {"eos_id", tokenizer.eos_id()},
          {"unk_id", tokenizer.unk_id()}, {"pad_id", tokenizer.pad_id()}};
}

}  // namespace

okapi_status okapi_tokenizer_open(okapi_runtime* runtime, const char* path,
                                  okapi_tokenizer** tokenizer, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(tokenizer, "tokenizer");
    require(runtime, "runtime");
    std::filesystem::path file = require_path(path, "path");
    if (std::filesystem::is_directory(file)) file /= kModelFile;
    *tokenizer = new okapi_tokenizer(
        runtime->context, okapi::Tokenizer::open(file, runtime->context->tokenizer_directories()));
  });
}

okapi_status okapi_model_get_tokenizer(const okapi_model* model, okapi_tokenizer** tokenizer,
                                       okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(tokenizer, "tokenizer");
    const okapi::Model& found = *require(model, "model")->model;
    if (found.tokenizer() == nullptr) {
      throw okapi::Error(okapi::Code::not_found, "the model has no tokenizer.model")
          .in("model")
          .field("tokenizer.model")
          .at(found.path());
    }
    *tokenizer = new okapi_tokenizer(found.context(), found.tokenizer());
  });
}

okapi_tokenizer* okapi_tokenizer_ref(okapi_tokenizer* tokenizer) {
  return ref(__func__, tokenizer);
}

void okapi_tokenizer_unref(okapi_tokenizer* tokenizer) { unref(__func__, tokenizer); }

okapi_status okapi_tokenizer_encode(const okapi_tokenizer* tokenizer, const char* text,
                                    size_t n_bytes, uint8_t add_bos, int32_t* ids, size_t capacity,
                                    size_t* n_ids, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(tokenizer, "tokenizer");
    require_array(text, n_bytes, "text");
    check_boolean(add_bos, "add_bos");
    const std::vector<int32_t> found = tokenizer->tokenizer->encode({text, n_bytes}, add_bos == 1);
    copy_array(std::span<const int32_t>(found), "ids", ids, capacity, n_ids);
  });
}

okapi_status okapi_tokenizer_decode(const okapi_tokenizer* tokenizer, const int32_t* ids,
                                    size_t n_ids, char* buffer, size_t capacity, size_t* needed,
                                    okapi_error** error) {
  return guard(__func__, error, [&] {
    require(tokenizer, "tokenizer");
    require_array(ids, n_ids, "ids");
    const int32_t last_id = tokenizer->tokenizer->vocab_size() - 1;
    for (size_t i = 0; i < n_ids; ++i) {
      check_range(ids[i], 0, last_id, ("ids[" + std::to_string(i) + "]").c_str());
    }
    copy_text(tokenizer->tokenizer->decode({ids, n_ids}), buffer, capacity, needed);
  });
}

int32_t okapi_tokenizer_vocab_size(const okapi_tokenizer* tokenizer) {
  return guard_value(__func__, int32_t{0},
                     [&] { return tokenizer != nullptr ? tokenizer->tokenizer->vocab_size() : 0; });
}

okapi_status okapi_tokenizer_describe(const okapi_tokenizer* tokenizer, char* buffer,
                                      size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(describe(*require(tokenizer, "tokenizer")->tokenizer), buffer, capacity, needed);
  });
}
