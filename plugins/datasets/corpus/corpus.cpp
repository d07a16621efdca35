#include "plugins/datasets/corpus/corpus.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <memory>
#include <utility>

#include "plugins/datasets/corpus/byte_source.h"
#include "plugins/datasets/corpus/splitter.h"

namespace corpus {

namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = size_t{1} << 18;

std::vector<std::string> files_below(const Files& files) {
  std::error_code error;
  if (!fs::is_directory(files.path, error)) {
    okapi::require(files.suffix.empty(), "chooses files of a folder, and path is none", "suffix");
    return {files.path};
  }
  std::vector<std::string> found;
  for (fs::recursive_directory_iterator it(files.path, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (it->is_regular_file(error) && name.ends_with(files.suffix) && !name.starts_with('.')) {
      found.push_back(it->path().string());
    }
  }
  if (error) fail_system(files.path, "list the folder", error.value());
  if (found.empty()) {
    fail_file(files.path, "the folder holds no files" +
                              (files.suffix.empty() ? "" : " that end in " + files.suffix));
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// A file without a name, gone when it is closed.
int open_spool(const std::string& folder) {
  int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    std::string name = folder + "/okapi-XXXXXX";
    descriptor = ::mkostemp(name.data(), O_CLOEXEC);
    if (descriptor >= 0) ::unlink(name.c_str());
  }
  if (descriptor < 0) fail_system(folder, "make a file for unpacked data", errno);
  return descriptor;
}

void write_all(int descriptor, std::string_view bytes, const std::string& folder) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_system(folder, "write unpacked data", errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

/// How many bytes at the front are well-formed UTF-8.
size_t valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned lead = byte(i);
    const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 0 || lead > 0xF4 || length > text.size() - i) return i;
    for (size_t k = 1; k < length; ++k) {
      if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return i;
    }
    // Overlong forms, surrogates, and what is past U+10FFFF, all told by the second byte.
    if ((lead == 0xE0 && byte(i + 1) < 0xA0) || (lead == 0xED && byte(i + 1) > 0x9F) ||
        (lead == 0xF0 && byte(i + 1) < 0x90) || (lead == 0xF4 && byte(i + 1) > 0x8F)) {
      return i;
    }
    i += length;
  }
  return i;
}

void check_utf8(std::string_view text, const std::string& path, int64_t line) {
  const size_t valid = valid_utf8(text);
  if (valid == text.size()) return;
  line += std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(valid), '\n');
  fail_piece(path + ":" + std::to_string(line),
             "is not UTF-8 at byte " + std::to_string(valid) + " of the document");
}

}  // namespace

Files files_of(const okapi::Params& params) {
  return {params.text("path"), params.has("suffix") ? params.text("suffix") : "",
          params.text("spool")};
}

Corpus::Corpus(const Files& files, Split split, const std::function<bool(const Found&)>& keep) {
  try {
    for (const std::string& path : files_below(files)) read_file(path, files, split, keep);
    if (pieces_.empty()) fail_file(files.path, "holds no documents, or none that are let through");
  } catch (...) {
    for (const Source& source : sources_) ::close(source.descriptor);
    throw;
  }
}

Corpus::~Corpus() {
  for (const Source& source : sources_) ::close(source.descriptor);
}

void Corpus::read_file(const std::string& path, const Files& files, Split split,
                       const std::function<bool(const Found&)>& keep) {
  OpenedBytes opened = open_bytes(path);
  const auto file = static_cast<uint32_t>(sources_.size());
  const int descriptor =
      opened.is_compressed ? open_spool(files.spool) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_system(path, "open", errno);
  sources_.push_back({path, descriptor});

  const auto report = [&](const StreamPiece& piece) {
    check_utf8(piece.bytes, path, piece.line);
    if (!keep({piece.bytes, path + ":" + std::to_string(piece.line)})) return;
    pieces_.push_back({piece.offset, static_cast<uint32_t>(piece.bytes.size()), file, piece.line});
  };
  const std::unique_ptr<Splitter> splitter = split == Split::files   ? Splitter::whole(path, report)
                                             : split == Split::lines ? Splitter::lines(path, report)
                                             : split == Split::parts
                                                 ? Splitter::parts(path, files.part_bytes, report)
                                                 : Splitter::json(path, report);
  std::vector<char> block(kBlockBytes);
  while (const size_t n = opened.bytes->read(block.data(), block.size())) {
    const std::string_view bytes(block.data(), n);
    if (opened.is_compressed) write_all(descriptor, bytes, files.spool);
    splitter->feed(bytes);
  }
  splitter->finish();
}

std::string Corpus::text(int64_t index) const {
  const Piece& wanted = piece(index);
  std::string text(wanted.n_bytes, '\0');
  size_t n_read = 0;
  while (n_read < text.size()) {
    const ssize_t n = ::pread(sources_[wanted.file].descriptor, text.data() + n_read,
                              text.size() - n_read, static_cast<off_t>(wanted.offset + n_read));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_system(sources_[wanted.file].path, "read", errno);
    if (n == 0) fail_piece(place(index), "the file has become shorter since it was opened");
    n_read += static_cast<size_t>(n);
  }
  if (valid_utf8(text) != text.size()) {
    fail_piece(place(index), "the file has changed since it was opened");
  }
  return text;
}

std::string Corpus::place(int64_t index) const {
  return sources_[piece(index).file].path + ":" + std::to_string(piece(index).line);
}

void fail_piece(const std::string& place, const std::string& problem) {
  throw okapi::Failure(OKAPI_INVALID_ARGUMENT, place + ": " + problem, "path");
}

int64_t n_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

CharacterFilter::CharacterFilter(const okapi::Params& params)
    : min_(params.integer("min_characters")),
      max_(params.has("max_characters") ? params.integer("max_characters")
                                        : std::numeric_limits<int64_t>::max()) {
  okapi::require(min_ <= max_,
                 "wanted at least min_characters (" + std::to_string(min_) + "), found " +
                     std::to_string(max_),
                 "max_characters");
}

bool CharacterFilter::keeps(std::string_view text) const {
  const int64_t n = n_characters(text);
  return min_ <= n && n <= max_;
}

}  // namespace corpus
