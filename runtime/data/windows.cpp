#include "runtime/data/windows.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"

namespace okapi {

namespace {

// Streams of random numbers under one seed.
constexpr uint64_t kWindowOrder = 0;
constexpr uint64_t kDocumentOrder = uint64_t{1} << 32;

[[noreturn]] void fail(Code code, const std::string& problem, const std::string& place) {
  throw Error(code, problem).in("data").at(place);
}

void check_index(int64_t index) {
  if (index >= 0) return;
  throw Error(Code::out_of_range, "wanted a window from 0 on, found " + std::to_string(index))
      .in("data")
      .field("index");
}

}  // namespace

Json WindowOptions::json() const {
  return {{"length", length},
          {"overlap", overlap},
          {"pack", pack},
          {"window_bos", bos_id >= 0},
          {"shuffle", shuffle}};
}

std::vector<int64_t> window_starts(int64_t n_tokens, int64_t length, int64_t overlap) {
  std::vector<int64_t> starts;
  const int64_t end = std::max<int64_t>(1, n_tokens - overlap);
  for (int64_t start = 0; start < end && n_tokens - start >= 2; start += length - overlap) {
    starts.push_back(start);
  }
  return starts;
}

StoreWindows::StoreWindows(std::shared_ptr<const TokenStore> store, std::vector<int64_t> documents,
                           WindowOptions options, uint64_t seed)
    : store_(std::move(store)),
      documents_(std::move(documents)),
      options_(options),
      seed_(seed),
      n_content_(options.length - (options.bos_id >= 0 ? 1 : 0)) {
  if (options_.pack) {
    int64_t n_tokens = 0;
    for (const int64_t document : documents_) n_tokens += store_->size(document);
    starts_ = window_starts(n_tokens, n_content_, options_.overlap);
    count_ = static_cast<int64_t>(starts_.size());
  } else {
    for (size_t i = 0; i < documents_.size(); ++i) {
      const int64_t n = store_->size(documents_[i]);
      for (const int64_t start : window_starts(n, n_content_, options_.overlap)) {
        // Of a window's first token there is no prediction, unless BOS comes before it.
        const int64_t first = options_.bos_id >= 0 ? start : start + 1;
        if (!store_->learns(documents_[i], first, std::min(n, start + n_content_))) continue;
        places_.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(start)});
      }
    }
    count_ = static_cast<int64_t>(places_.size());
  }
  if (count_ == 0) {
    fail(Code::invalid_argument,
         "the " + std::to_string(documents_.size()) + " documents give no window to learn from",
         store_->name());
  }
}

TokenWindow StoreWindows::begin_window() const {
  TokenWindow window;
  if (options_.bos_id >= 0) {
    window.ids.push_back(options_.bos_id);
    window.learned.push_back(0);
  }
  return window;
}

TokenWindow StoreWindows::window(int64_t index) const {
  check_index(index);
  const int64_t epoch = index / count_;
  int64_t place = index % count_;
  if (options_.shuffle) {
    place = Permutation(count_, seed_, kWindowOrder + static_cast<uint64_t>(epoch))(place);
  }
  TokenWindow window = begin_window();
  if (options_.pack) {
    cut_packed(epoch, place, window);
  } else {
    cut_one(place, window);
  }
  window.learned[0] = 0;
  return window;
}

void StoreWindows::cut_one(int64_t place, TokenWindow& window) const {
  const Place& at = places_[static_cast<size_t>(place)];
  const int64_t document = documents_[at.document];
  const int64_t end = std::min(store_->size(document), static_cast<int64_t>(at.start) + n_content_);
  store_->append(document, at.start, end, window);
  window.identity = store_->name() + ": record " + std::to_string(store_->record(document)) +
                    ", tokens " + std::to_string(at.start) + " to " + std::to_string(end);
}

std::shared_ptr<const StoreWindows::PackedOrder> StoreWindows::packed_order(int64_t epoch) const {
  if (!options_.shuffle) epoch = 0;
  const std::scoped_lock lock(mutex_);
  if (order_ != nullptr && order_->epoch == epoch) return order_;
  auto order = std::make_shared<PackedOrder>();
  order->epoch = epoch;
  const auto n = static_cast<int64_t>(documents_.size());
  const Permutation shuffled(n, seed_, kDocumentOrder + static_cast<uint64_t>(epoch));
  int64_t start = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t document = options_.shuffle ? shuffled(i) : i;
    order->documents.push_back(static_cast<uint32_t>(document));
    order->starts.push_back(start);
    start += store_->size(documents_[static_cast<size_t>(document)]);
  }
  order->starts.push_back(start);
  order_ = order;
  return order;
}

void StoreWindows::cut_packed(int64_t epoch, int64_t place, TokenWindow& window) const {
  const std::shared_ptr<const PackedOrder> order = packed_order(epoch);
  const int64_t first = starts_[static_cast<size_t>(place)];
  const int64_t last = std::min(first + n_content_, order->starts.back());
  // The last document that begins at or before the window; empty ones do not exist.
  auto at =
      static_cast<size_t>(std::upper_bound(order->starts.begin(), order->starts.end(), first) -
                          order->starts.begin() - 1);
  for (int64_t done = first; done < last; ++at) {
    const int64_t document = documents_[order->documents[at]];
    const int64_t begin = done - order->starts[at];
    const int64_t end = std::min(store_->size(document), last - order->starts[at]);
    if (window.identity.empty()) {
      window.identity = store_->name() + ": packed tokens " + std::to_string(first) + " to " +
                        std::to_string(last) + " of epoch " + std::to_string(epoch) +
                        ", from record " + std::to_string(store_->record(document)) + " token " +
                        std::to_string(begin);
    }
    store_->append(document, begin, end, window);
    done += end - begin;
  }
}

Json StoreWindows::describe() const {
  return {{"kind", "windows"},
          {"documents", store_->description()},
          {"tokens_sha256", store_->sha256()},
          {"n_documents", documents_.size()},
          {"windows", options_.json()},
          {"seed", seed_},
          {"count", count_}};
}

RecordWindows::RecordWindows(std::shared_ptr<const RecordSource> records, Json description,
                             std::shared_ptr<const DocumentMaker> maker, WindowOptions options,
                             int64_t first, int64_t count)
    : records_(std::move(records)),
      description_(std::move(description)),
      maker_(std::move(maker)),
      options_(options),
      first_(first),
      count_(count) {}

TokenWindow RecordWindows::window(int64_t index) const {
  check_index(index);
  const int64_t record = first_ + (count_ > 0 ? index % count_ : index);
  const std::string place = records_->name() + ": record " + std::to_string(record);
  std::vector<TokenDocument> documents = maker_->documents(records_->record(record));
  if (documents.empty()) fail(Code::invalid_argument, "holds nothing to learn", place);
  TokenDocument& document = documents.front();
  if (documents.size() > 1 || static_cast<int64_t>(document.ids.size()) > options_.length) {
    fail(Code::out_of_range,
         "has " +
             (documents.size() > 1 ? "more than " + std::to_string(options_.length)
                                   : std::to_string(document.ids.size())) +
             " tokens, and a window " + std::to_string(options_.length) +
             ": let the dataset make shorter ones",
         place);
  }
  TokenWindow window;
  window.learned.assign(document.ids.size(), 0);
  for (const LearnedRange& range : document.learned) {
    std::fill(window.learned.begin() + range.begin, window.learned.begin() + range.end, 1);
  }
  window.ids = std::move(document.ids);
  window.identity = place;
  return window;
}

Json RecordWindows::describe() const {
  return {{"kind", "records"},
          {"documents", description_},
          {"windows", options_.json()},
          {"first", first_},
          {"count", count_}};
}

}  // namespace okapi
