#include "plugins/datasets/corpus/byte_source.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include <okapi/plugin/plugin.hpp>

namespace corpus {

namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open_file(const std::string& path) {
  File file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (file == nullptr) fail_system(path, "open", errno);
  return file;
}

class PlainBytes : public ByteSource {
 public:
  PlainBytes(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {}

  size_t read(char* to, size_t n) override {
    const size_t n_read = std::fread(to, 1, n, file_.get());
    if (n_read == 0 && std::ferror(file_.get()) != 0) fail_system(path_, "read", errno);
    return n_read;
  }

 private:
  std::string path_;
  File file_;
};

class GzipBytes : public ByteSource {
 public:
  explicit GzipBytes(std::string path)
      : path_(std::move(path)), file_(gzopen(path_.c_str(), "rb"), gzclose) {
    if (file_ == nullptr) fail_system(path_, "open", errno);
    gzbuffer(file_.get(), 1U << 18);
  }

  size_t read(char* to, size_t n) override {
    const int n_read = gzread(file_.get(), to, static_cast<unsigned>(n));
    int code = Z_OK;
    const char* problem = gzerror(file_.get(), &code);
    if (code == Z_ERRNO) fail_system(path_, "read", errno);
    // A file that was cut off gives what it has first, and then says so.
    if (n_read < 0 || (n_read == 0 && code != Z_OK && code != Z_STREAM_END)) {
      fail_file(path_, std::string("damaged or cut off gzip data: ") + problem);
    }
    return static_cast<size_t>(n_read);
  }

 private:
  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

class ZstdBytes : public ByteSource {
 public:
  ZstdBytes(std::string path, File file)
      : path_(std::move(path)),
        file_(std::move(file)),
        context_(ZSTD_createDCtx(), ZSTD_freeDCtx),
        packed_(ZSTD_DStreamInSize()) {
    if (context_ == nullptr) throw std::bad_alloc();
    // Corpora are packed with long windows; what a frame asks for is checked against this.
    constexpr int kLargestWindow = 31;  // 2^31 bytes: `zstd --ultra --long=31`
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kLargestWindow);
  }

  size_t read(char* to, size_t n) override {
    ZSTD_outBuffer out{to, n, 0};
    while (out.pos == 0) {
      const bool has_ended = input_.pos == input_.size && !refill();
      if (has_ended && !in_frame_) return 0;
      // Also without more input: the decoder may hold what did not fit into the last call's buffer.
      const size_t left = ZSTD_decompressStream(context_.get(), &out, &input_);
      if (ZSTD_isError(left) != 0) {
        fail_file(path_, std::string("damaged Zstandard data: ") + ZSTD_getErrorName(left));
      }
      in_frame_ = left != 0;
      if (has_ended && in_frame_ && out.pos == 0) {
        fail_file(path_, "cut off Zstandard data: the last frame has no end");
      }
    }
    return out.pos;
  }

 private:
  bool refill() {
    const size_t n_read = std::fread(packed_.data(), 1, packed_.size(), file_.get());
    if (n_read == 0 && std::ferror(file_.get()) != 0) fail_system(path_, "read", errno);
    input_ = {packed_.data(), n_read, 0};
    return n_read > 0;
  }

  std::string path_;
  File file_;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  std::vector<char> packed_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool in_frame_ = false;
};

}  // namespace

void fail_file(const std::string& path, const std::string& problem) {
  throw okapi::Failure(OKAPI_INVALID_ARGUMENT, path + ": " + problem, "path");
}

void fail_system(const std::string& path, const std::string& verb, int error_number) {
  const int32_t status = error_number == ENOENT   ? OKAPI_NOT_FOUND
                         : error_number == ENOSPC ? OKAPI_RESOURCE_EXHAUSTED
                                                  : OKAPI_INVALID_ARGUMENT;
  throw okapi::Failure(status, path + ": cannot " + verb + ": " + std::strerror(error_number),
                       "path");
}

OpenedBytes open_bytes(const std::string& path) {
  File file = open_file(path);
  unsigned char magic[4] = {};
  const size_t n = std::fread(magic, 1, sizeof magic, file.get());
  if (n == 0 && std::ferror(file.get()) != 0) fail_system(path, "read", errno);
  std::rewind(file.get());

  if (n >= 2 && magic[0] == 0x1F && magic[1] == 0x8B) {
    return {std::make_unique<GzipBytes>(path), true};
  }
  constexpr unsigned char kZstd[4] = {0x28, 0xB5, 0x2F, 0xFD};
  // 0x184D2A50 to 5F: a frame to be skipped, which parallel packers write first.
  const bool is_skippable = n == 4 && (magic[0] & 0xF0) == 0x50 && magic[1] == 0x2A &&
                            magic[2] == 0x4D && magic[3] == 0x18;
  if (n == 4 && (std::memcmp(magic, kZstd, 4) == 0 || is_skippable)) {
    return {std::make_unique<ZstdBytes>(path, std::move(file)), true};
  }
  return {std::make_unique<PlainBytes>(path, std::move(file)), false};
}

}  // namespace corpus
