// Windows cut from documents of tokens.
//
//   const auto source = StoreWindows(store, documents, {.length = 512, .overlap = 256}, seed);
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/data/document_maker.h"
#include "runtime/data/permutation.h"
#include "runtime/data/token_store.h"
#include "runtime/data/window_source.h"

namespace okapi {

struct WindowOptions {
  int64_t length = 0;   ///< most tokens of a window, at least 2
  int64_t overlap = 0;  ///< tokens that a window shares with the one before, below length
  bool pack = false;    ///< documents one after another are one long text; else no window mixes two
  int32_t bos_id = -1;  ///< not -1: each window begins with it, within its length
  bool shuffle = true;  ///< each epoch in an order of its own; else always in the documents' order

  Json json() const;
};

/// Where windows of `length` begin in a text of n tokens: 0, length - overlap, ... while more than
/// the overlap is left. Giraffe's algorithm, which has an overlap of half a window, for any.
/// Without those that would hold a single token, which predicts nothing; so none for n below 2.
std::vector<int64_t> window_starts(int64_t n_tokens, int64_t length, int64_t overlap);

/// Windows of the documents of a store. The last of a document may be shorter than the others; none
/// is padded. Those in which nothing is learned are left out, unless documents are packed.
class StoreWindows : public WindowSource {
 public:
  /// `documents` are numbers of the store's; `seed` decides the order. Throws invalid_argument when
  /// there is no window.
  StoreWindows(std::shared_ptr<const TokenStore> store, std::vector<int64_t> documents,
               WindowOptions options, uint64_t seed);

  int64_t count() const override { return count_; }
  TokenWindow window(int64_t index) const override;
  int64_t max_tokens() const override { return options_.length; }
  Json describe() const override;

 private:
  struct Place {
    uint32_t document;  ///< of documents_
    uint32_t start;
  };
  /// Documents in the order of an epoch, and where each begins in the packed text.
  struct PackedOrder {
    int64_t epoch = -1;
    std::vector<uint32_t> documents;
    std::vector<int64_t> starts;
  };

  TokenWindow begin_window() const;
  void cut_one(int64_t place, TokenWindow& window) const;
  void cut_packed(int64_t epoch, int64_t place, TokenWindow& window) const;
  std::shared_ptr<const PackedOrder> packed_order(int64_t epoch) const;

  std::shared_ptr<const TokenStore> store_;
  std::vector<int64_t> documents_;
  WindowOptions options_;
  uint64_t seed_;
  int64_t n_content_;  ///< tokens of a window besides its BOS
  int64_t count_ = 0;
  std::vector<Place> places_;    ///< of windows that each lie in one document
  std::vector<int64_t> starts_;  ///< of packed windows
  mutable std::mutex mutex_;     ///< of order_
  mutable std::shared_ptr<const PackedOrder> order_;
};

/// Windows of records made as they are asked for: window i is the document of record first + i.
/// `count` -1: endless.
class RecordWindows : public WindowSource {
 public:
  RecordWindows(std::shared_ptr<const RecordSource> records, Json description,
                std::shared_ptr<const DocumentMaker> maker, WindowOptions options, int64_t first,
                int64_t count);

  int64_t count() const override { return count_; }

  /// Throws out_of_range naming the record when its document does not fit into a window.
  TokenWindow window(int64_t index) const override;
  int64_t max_tokens() const override { return options_.length; }
  Json describe() const override;

 private:
  std::shared_ptr<const RecordSource> records_;
  Json description_;
  std::shared_ptr<const DocumentMaker> maker_;
  WindowOptions options_;
  int64_t first_;
  int64_t count_;
};

}  // namespace okapi
