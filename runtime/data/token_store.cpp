#include "runtime/data/token_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"

namespace okapi {

namespace {

constexpr int32_t kMostOfTwoBytes = 1 << 16;

}  // namespace

int token_bytes_for(int32_t vocab_size) { return vocab_size <= kMostOfTwoBytes ? 2 : 4; }

void TokenStoreBuilder::add(const TokenDocument& document, int64_t record) {
  packed_.resize(document.ids.size() * static_cast<size_t>(token_bytes_));
  for (size_t i = 0; i < document.ids.size(); ++i) {
    // Little endian, as every machine that okapi runs on.
    std::memcpy(packed_.data() + i * static_cast<size_t>(token_bytes_), &document.ids[i],
                static_cast<size_t>(token_bytes_));
  }
  sink_(packed_);
  index_.starts.push_back(index_.starts.back() + document.ids.size());
  index_.records.push_back(record);
  index_.ranges.insert(index_.ranges.end(), document.learned.begin(), document.learned.end());
  index_.range_starts.push_back(index_.ranges.size());

  const uint64_t sizes[3] = {static_cast<uint64_t>(record), document.ids.size(),
                             document.learned.size()};
  hash_.update(sizes, sizeof sizes);
  hash_.update(document.ids.data(), document.ids.size() * sizeof document.ids[0]);
  hash_.update(document.learned.data(), document.learned.size() * sizeof document.learned[0]);
}

std::span<const LearnedRange> TokenStore::learned(int64_t document) const {
  const auto i = static_cast<size_t>(document);
  const uint64_t first = parts_.range_starts[i];
  return parts_.ranges.subspan(first, parts_.range_starts[i + 1] - first);
}

bool TokenStore::learns(int64_t document, int64_t begin, int64_t end) const {
  const std::span<const LearnedRange> ranges = learned(document);
  const auto next = std::lower_bound(
      ranges.begin(), ranges.end(), begin,
      [](const LearnedRange& range, int64_t at) { return static_cast<int64_t>(range.end) <= at; });
  return next != ranges.end() && static_cast<int64_t>(next->begin) < end;
}

void TokenStore::append(int64_t document, int64_t begin, int64_t end, TokenWindow& window) const {
  const size_t at = window.ids.size();
  const auto n = static_cast<size_t>(end - begin);
  window.ids.resize(at + n, 0);
  window.learned.resize(at + n, 0);
  const auto width = static_cast<size_t>(parts_.token_bytes);
  const uint64_t first =
      parts_.starts[static_cast<size_t>(document)] + static_cast<uint64_t>(begin);
  for (size_t i = 0; i < n; ++i) {
    int32_t& id = window.ids[at + i];
    std::memcpy(&id, parts_.tokens + (first + i) * width, width);
    if (id < 0 || id >= parts_.vocab_size) {
      throw Error(Code::data_loss, "document " + std::to_string(document) + ": token " +
                                       std::to_string(id) + " is none of the vocabulary's " +
                                       std::to_string(parts_.vocab_size))
          .in("data")
          .at(parts_.name);
    }
  }
  for (const LearnedRange& range : learned(document)) {
    const int64_t from = std::max<int64_t>(range.begin, begin);
    const int64_t to = std::min<int64_t>(range.end, end);
    for (int64_t i = from; i < to; ++i) window.learned[at + static_cast<size_t>(i - begin)] = 1;
  }
}

void TokenStore::verify() const {
  TokenStoreBuilder again(parts_.token_bytes, [](std::span<const std::byte>) {});
  for (int64_t i = 0; i < n_documents(); ++i) {
    TokenWindow window;
    append(i, 0, size(i), window);
    const std::span<const LearnedRange> ranges = learned(i);
    again.add({std::move(window.ids), {ranges.begin(), ranges.end()}}, record(i));
  }
  const std::string found = again.sha256();
  if (found == parts_.sha256) return;
  throw Error(Code::data_loss, "the contents have SHA-256 " + found + ", wanted " + parts_.sha256)
      .in("data")
      .field("sha256")
      .at(parts_.name);
}

MemoryTokens::MemoryTokens(int32_t vocab_size, size_t max_bytes)
    : vocab_size_(vocab_size),
      tokens_(std::make_shared<std::vector<std::byte>>()),
      builder_(token_bytes_for(vocab_size),
               [tokens = tokens_.get(), max_bytes](std::span<const std::byte> more) {
                 if (tokens->size() + more.size() > max_bytes) {
                   throw Error(Code::resource_exhausted,
                               "the tokens take more than " + std::to_string(max_bytes) +
                                   " bytes of memory: write them to a file with `okapi data "
                                   "prepare`, and train on that ({\"tokens\": FILE}), or allow "
                                   "more with max_memory")
                       .in("data")
                       .field("max_memory");
                 }
                 tokens->insert(tokens->end(), more.begin(), more.end());
               }) {}

std::shared_ptr<const TokenStore> MemoryTokens::finish(std::string name, Json description) {
  struct Owner {
    TokenIndex index;
    std::shared_ptr<const std::vector<std::byte>> tokens;
  };
  const auto owner = std::make_shared<Owner>();
  TokenStore::Parts parts;
  parts.sha256 = builder_.sha256();
  owner->index = builder_.take_index();
  owner->tokens = tokens_;
  parts.starts = owner->index.starts;
  parts.records = owner->index.records;
  parts.range_starts = owner->index.range_starts;
  parts.ranges = owner->index.ranges;
  parts.tokens = tokens_->data();
  parts.token_bytes = token_bytes_for(vocab_size_);
  parts.vocab_size = vocab_size_;
  parts.name = std::move(name);
  parts.description = std::move(description);
  parts.owner = owner;
  return std::make_shared<const TokenStore>(std::move(parts));
}

}  // namespace okapi
