// Documents of tokens by number, in memory or in a mapped file: what windows are cut from.
//
//   TokenStoreBuilder builder(2, [&](auto bytes) { ... });   // the tokens, as they come
//   builder.add(document, /*record=*/17);
//   TokenIndex index = builder.finish();
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/sha256.h"
#include "runtime/data/token_document.h"
#include "runtime/data/window_source.h"

namespace okapi {

/// All but the tokens. Of n documents:
struct TokenIndex {
  std::vector<uint64_t> starts = {0};  ///< [n+1]: document i is tokens starts[i] .. starts[i+1]-1
  std::vector<int64_t> records;        ///< [n]: of the dataset, which each document is from
  std::vector<uint64_t> range_starts = {0};  ///< [n+1]: its ranges, likewise
  std::vector<LearnedRange> ranges;
};

/// Two bytes a token while the vocabulary allows it, else four.
int token_bytes_for(int32_t vocab_size);

/// Takes documents one by one; only the index stays in memory.
class TokenStoreBuilder {
 public:
  using Sink = std::function<void(std::span<const std::byte>)>;
  TokenStoreBuilder(int token_bytes, Sink sink)
      : token_bytes_(token_bytes), sink_(std::move(sink)) {}

  void add(const TokenDocument& document, int64_t record);

  const TokenIndex& index() const { return index_; }
  TokenIndex take_index() { return std::move(index_); }
  /// Of all documents, their records and what is learned; the same for every size of tokens.
  std::string sha256() { return hash_.hex(); }

 private:
  int token_bytes_;
  Sink sink_;
  TokenIndex index_;
  std::vector<std::byte> packed_;
  Sha256 hash_;
};

/// Immutable. Functions may be called from several threads at once.
class TokenStore {
 public:
  struct Parts {
    std::span<const uint64_t> starts;
    std::span<const int64_t> records;
    std::span<const uint64_t> range_starts;
    std::span<const LearnedRange> ranges;
    const std::byte* tokens = nullptr;
    int token_bytes = 4;
    int32_t vocab_size = 0;
    std::string name;                   ///< for messages: the dataset, or the file
    Json description;                   ///< of dataset, documents, tokenizer
    std::string sha256;                 ///< of the builder
    std::shared_ptr<const void> owner;  ///< of the memory
  };
  explicit TokenStore(Parts parts) : parts_(std::move(parts)) {}

  int64_t n_documents() const { return static_cast<int64_t>(parts_.records.size()); }
  int64_t n_tokens() const { return static_cast<int64_t>(parts_.starts.back()); }
  int64_t size(int64_t document) const {
    const auto i = static_cast<size_t>(document);
    return static_cast<int64_t>(parts_.starts[i + 1] - parts_.starts[i]);
  }
  int64_t record(int64_t document) const { return parts_.records[static_cast<size_t>(document)]; }
  std::span<const LearnedRange> learned(int64_t document) const;
  const std::string& name() const { return parts_.name; }
  const Json& description() const { return parts_.description; }
  const std::string& sha256() const { return parts_.sha256; }

  /// Whether any of a document's tokens begin .. end-1 is learned.
  bool learns(int64_t document, int64_t begin, int64_t end) const;

  /// Appends tokens begin .. end-1 of a document, with their flags. Throws data_loss on an id that
  /// the vocabulary does not have.
  void append(int64_t document, int64_t begin, int64_t end, TokenWindow& window) const;

  /// Throws data_loss unless the contents still are what sha256() says. Reads everything.
  void verify() const;

 private:
  Parts parts_;
};

/// A store in memory. Throws resource_exhausted, saying what to do instead, when the tokens take
/// more than `max_bytes`.
class MemoryTokens {
 public:
  MemoryTokens(int32_t vocab_size, size_t max_bytes);
  void add(const TokenDocument& document, int64_t record) { builder_.add(document, record); }
  std::shared_ptr<const TokenStore> finish(std::string name, Json description);

 private:
  int32_t vocab_size_;
  std::shared_ptr<std::vector<std::byte>> tokens_;
  TokenStoreBuilder builder_;
};

}  // namespace okapi
