// Text and ids through a tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "capi/lua/c_api.h"

namespace okapi::api {

inline std::vector<int32_t> encode(const okapi_tokenizer* tokenizer, std::string_view text,
                                   bool add_bos) {
  size_t n_ids = 0;
  std::vector<int32_t> ids(text.size() + 2);  // at most an id per byte, BOS, and one for a prefix
  okapi_error* error = nullptr;
  okapi_status status = okapi_tokenizer_encode(tokenizer, text.data(), text.size(), add_bos ? 1 : 0,
                                               ids.data(), ids.size(), &n_ids, &error);
  if (status == OKAPI_OUT_OF_RANGE && n_ids > ids.size()) {
    okapi_error_unref(error);
    ids.resize(n_ids);
    status = okapi_tokenizer_encode(tokenizer, text.data(), text.size(), add_bos ? 1 : 0,
                                    ids.data(), ids.size(), &n_ids, &error);
  }
  if (status != OKAPI_OK) throw Failure::from(status, error);
  ids.resize(n_ids);
  return ids;
}

inline std::string decode(const okapi_tokenizer* tokenizer, const std::vector<int32_t>& ids) {
  return text(okapi_tokenizer_decode, tokenizer, ids.data(), ids.size());
}

}  // namespace okapi::api
