// A file of tokens, mapped when it is read, so that it may be larger than memory.
//
//   "OKAPITOK", version u32, bytes of a token u32
//   tokens      [n_tokens] u16 or i32, then zeros up to a multiple of 8
//   starts      [n_documents + 1] u64     as TokenIndex has them
//   records     [n_documents] i64
//   range_starts [n_documents + 1] u64
//   ranges      [n_ranges] u32 begin, u32 end
//   description JSON text: dataset, documents, tokenizer
//   footer      n_documents, n_tokens, n_ranges, bytes of the JSON, vocab_size: u64 each;
//               SHA-256 of the contents, and of all from starts up to here: 64 digits each;
//               "OKAPIEND"
//
// Little endian. The counts stand at the end because they are known there: the file is written
// front to back, under another name until it is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "runtime/base/json.h"
#include "runtime/data/token_store.h"

namespace okapi {

class Tokenizer;

/// Writes a file; `fill` adds the documents in order. What stood under `path` stays until the new
/// one is whole, and if `fill` throws.
void write_token_file(const std::filesystem::path& path, int32_t vocab_size,
                      const std::function<Json(TokenStoreBuilder&)>& fill);

/// Maps a file and checks all but the tokens themselves. Throws data_loss naming what is wrong: it
/// is none, was cut off, or damaged.
std::shared_ptr<const TokenStore> open_token_file(const std::filesystem::path& path);

/// Throws failed_precondition, naming both, unless the store's tokens are this tokenizer's.
void check_tokenizer(const TokenStore& store, const Tokenizer& tokenizer);

}  // namespace okapi
