#include "runtime/data/token_file.h"

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/sha256.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

constexpr char kMagic[8] = {'O', 'K', 'A', 'P', 'I', 'T', 'O', 'K'};
constexpr char kEnd[8] = {'O', 'K', 'A', 'P', 'I', 'E', 'N', 'D'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kAlignment = 8;

struct Head {
  char magic[8];
  uint32_t version;
  uint32_t token_bytes;
};
static_assert(sizeof(Head) == 16);

struct Footer {
  uint64_t n_documents;
  uint64_t n_tokens;
  uint64_t n_ranges;
  uint64_t json_bytes;
  uint64_t vocab_size;
  char sha256[64];
  char index_sha256[64];
  char end[8];
};
static_assert(sizeof(Footer) == 176);

uint64_t padding(uint64_t n_bytes) { return (kAlignment - n_bytes % kAlignment) % kAlignment; }

[[noreturn]] void refuse_tokens(const std::string& path, const std::string& problem,
                                const std::string& field = "tokens") {
  throw Error(Code::data_loss, problem).in("data").field(field).at(path);
}

/// The parts of a mapped file, one after the other.
class ByteReader {
 public:
  explicit ByteReader(const MappedFile& file) : file_(file), bytes_(file.bytes()) {
    Head head{};
    if (bytes_.size() < sizeof head + sizeof footer_)
      refuse_tokens(file.path(), "is no token file: too short");
    std::memcpy(&head, bytes_.data(), sizeof head);
    if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) {
      refuse_tokens(file.path(), "is no token file: it does not begin with OKAPITOK");
    }
    if (head.version != kVersion) {
      refuse_tokens(file.path(), "wanted version " + std::to_string(kVersion) + ", found " +
                                     std::to_string(head.version));
    }
    if (head.token_bytes != 2 && head.token_bytes != 4) {
      refuse_tokens(file.path(),
                    "wanted tokens of 2 or 4 bytes, found " + std::to_string(head.token_bytes));
    }
    token_bytes_ = head.token_bytes;
    std::memcpy(&footer_, bytes_.data() + bytes_.size() - sizeof footer_, sizeof footer_);
    if (std::memcmp(footer_.end, kEnd, sizeof kEnd) != 0) {
      refuse_tokens(file.path(), "is cut off: it does not end with OKAPIEND");
    }
    check_size();
  }

  const Footer& footer() const { return footer_; }
  uint32_t token_bytes() const { return token_bytes_; }

  template <typename T>
  std::span<const T> take(uint64_t n) {
    const auto* first = reinterpret_cast<const T*>(bytes_.data() + at_);
    at_ += n * sizeof(T);
    return {first, static_cast<size_t>(n)};
  }
  void skip(uint64_t n_bytes) { at_ += n_bytes; }
  uint64_t at() const { return at_; }

 private:
  /// Before any of the counts is used, so that none can lead out of the file.
  void check_size() const {
    const uint64_t size = bytes_.size();
    for (const uint64_t n :
         {footer_.n_documents, footer_.n_tokens, footer_.n_ranges, footer_.json_bytes}) {
      if (n > size) refuse_tokens(file_.path(), "a count of the footer is larger than the file");
    }
    const uint64_t tokens = footer_.n_tokens * token_bytes_;
    const uint64_t wanted =
        sizeof(Head) + tokens + padding(tokens) + (footer_.n_documents * 3 + 2) * sizeof(uint64_t) +
        footer_.n_ranges * sizeof(LearnedRange) + footer_.json_bytes + sizeof(Footer);
    if (wanted != size) {
      refuse_tokens(file_.path(), "wanted " + std::to_string(wanted) +
                                      " bytes by its footer, found " + std::to_string(size));
    }
    if (footer_.vocab_size == 0 || footer_.vocab_size > INT32_MAX) {
      refuse_tokens(file_.path(), "vocab_size: found " + std::to_string(footer_.vocab_size));
    }
  }

  const MappedFile& file_;
  std::span<const std::byte> bytes_;
  Footer footer_{};
  uint64_t token_bytes_ = 0;
  uint64_t at_ = sizeof(Head);
};

/// Starts ascend from 0 to n; ranges lie within their documents.
void check_index(const TokenStore::Parts& parts, const Footer& footer) {
  const auto check_starts = [&](std::span<const uint64_t> starts, uint64_t last,
                                bool may_be_empty) {
    bool holds = starts.front() == 0 && starts.back() == last;
    for (size_t i = 1; i < starts.size(); ++i) {
      holds = holds && (may_be_empty ? starts[i - 1] <= starts[i] : starts[i - 1] < starts[i]);
    }
    if (!holds) refuse_tokens(parts.name, "its index is damaged: places do not ascend");
  };
  check_starts(parts.starts, footer.n_tokens, false);
  check_starts(parts.range_starts, footer.n_ranges, true);
  for (size_t i = 0; i < parts.records.size(); ++i) {
    uint64_t last = 1;
    for (uint64_t k = parts.range_starts[i]; k < parts.range_starts[i + 1]; ++k) {
      const LearnedRange& range = parts.ranges[k];
      if (range.begin < last || range.end <= range.begin) {
        refuse_tokens(parts.name, "its index is damaged: ranges do not ascend");
      }
      last = range.end;
    }
    if (parts.records[i] < 0 ||
        last > std::max<uint64_t>(1, parts.starts[i + 1] - parts.starts[i])) {
      refuse_tokens(parts.name, "its index is damaged: a range leaves its document");
    }
  }
}

}  // namespace

void write_token_file(const std::filesystem::path& path, int32_t vocab_size,
                      const std::function<Json(TokenStoreBuilder&)>& fill) {
  const int token_bytes = token_bytes_for(vocab_size);
  write_file_atomically(path, [&](const FileWriter& write) {
    Head head{};
    std::memcpy(head.magic, kMagic, sizeof kMagic);
    head.version = kVersion;
    head.token_bytes = static_cast<uint32_t>(token_bytes);
    write(std::as_bytes(std::span(&head, 1)));

    TokenStoreBuilder builder(token_bytes, write);
    const std::string json = fill(builder).dump();
    const TokenIndex& index = builder.index();
    const std::byte zeros[kAlignment] = {};
    write(
        std::span(zeros).first(padding(index.starts.back() * static_cast<uint64_t>(token_bytes))));

    Sha256 index_hash;
    const auto write_hashed = [&](std::span<const std::byte> bytes) {
      index_hash.update(bytes.data(), bytes.size());
      write(bytes);
    };
    write_hashed(std::as_bytes(std::span(index.starts)));
    write_hashed(std::as_bytes(std::span(index.records)));
    write_hashed(std::as_bytes(std::span(index.range_starts)));
    write_hashed(std::as_bytes(std::span(index.ranges)));
    write_hashed(std::as_bytes(std::span(json)));

    Footer footer{};
    footer.n_documents = index.records.size();
    footer.n_tokens = index.starts.back();
    footer.n_ranges = index.ranges.size();
    footer.json_bytes = json.size();
    footer.vocab_size = static_cast<uint64_t>(vocab_size);
    builder.sha256().copy(footer.sha256, sizeof footer.sha256);
    index_hash.update(&footer, offsetof(Footer, index_sha256));
    index_hash.hex().copy(footer.index_sha256, sizeof footer.index_sha256);
    std::memcpy(footer.end, kEnd, sizeof kEnd);
    write(std::as_bytes(std::span(&footer, 1)));
  });
}

std::shared_ptr<const TokenStore> open_token_file(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(MappedFile::open(path));
  ByteReader reader(*file);
  const Footer& footer = reader.footer();

  TokenStore::Parts parts;
  parts.name = file->path();
  parts.token_bytes = static_cast<int>(reader.token_bytes());
  parts.vocab_size = static_cast<int32_t>(footer.vocab_size);
  const uint64_t token_bytes = footer.n_tokens * reader.token_bytes();
  parts.tokens = reader.take<std::byte>(token_bytes).data();
  reader.skip(padding(token_bytes));
  const uint64_t index_begin = reader.at();
  parts.starts = reader.take<uint64_t>(footer.n_documents + 1);
  parts.records = reader.take<int64_t>(footer.n_documents);
  parts.range_starts = reader.take<uint64_t>(footer.n_documents + 1);
  parts.ranges = reader.take<LearnedRange>(footer.n_ranges);
  const std::span<const char> json = reader.take<char>(footer.json_bytes);

  Sha256 hash;
  hash.update(file->bytes().data() + index_begin, reader.at() - index_begin);
  hash.update(&footer, offsetof(Footer, index_sha256));
  if (hash.hex() != std::string_view(footer.index_sha256, sizeof footer.index_sha256)) {
    refuse_tokens(file->path(), "its index is damaged: the SHA-256 differs");
  }
  check_index(parts, footer);
  parts.description = parse_json({json.data(), json.size()}, {"data", file->path()});
  parts.sha256.assign(footer.sha256, sizeof footer.sha256);
  parts.owner = file;
  return std::make_shared<const TokenStore>(std::move(parts));
}

void check_tokenizer(const TokenStore& store, const Tokenizer& tokenizer) {
  const Json& description = store.description();
  const std::string found = description.at("documents").at("tokenizer").value("sha256", "");
  if (found == tokenizer.sha256()) return;
  throw Error(Code::failed_precondition, "the tokens are of the tokenizer with SHA-256 " + found +
                                             ", the model has that of " + tokenizer.path() + ", " +
                                             tokenizer.sha256())
      .in("data")
      .field("tokens")
      .at(store.name());
}

}  // namespace okapi
