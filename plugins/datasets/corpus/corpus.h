// Pieces of text in files: whole files, lines, or the objects of a JSON array. All files are read
// once when a corpus is made; afterwards only places are in memory (24 bytes a piece), and a piece
// is read from its file, so that a corpus may be larger than memory. What is compressed is unpacked
// into an unnamed file, since such data cannot be read from the middle.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <okapi/plugin/plugin.hpp>

namespace corpus {

enum class Split {
  files,  ///< each file is one piece
  lines,  ///< each line that is not blank
  parts,  ///< lines together, until they have part_bytes
  json,   ///< each object of a JSON array, if the file begins with '['; else each line
};

/// A piece while a corpus is made.
struct Found {
  std::string_view text;  ///< UTF-8, without line break
  std::string place;      ///< "FILE:LINE"
};

/// Where the files are, as all these plugins declare it.
struct Files {
  std::string path;    ///< a file, or a folder: all files below it, in the order of their names
  std::string suffix;  ///< of a folder, only files whose names end so
  std::string spool;   ///< folder for unpacked copies
  size_t part_bytes = 0;
};
Files files_of(const okapi::Params& params);

/// Immutable once made: functions may be called from several threads at once.
class Corpus {
 public:
  /// Keeps the pieces for which `keep` returns true. Throws okapi::Failure naming file and line of
  /// what is not UTF-8 or not whole, and what `keep` throws; also when nothing is kept.
  Corpus(const Files& files, Split split, const std::function<bool(const Found&)>& keep);
  ~Corpus();
  Corpus(const Corpus&) = delete;
  Corpus& operator=(const Corpus&) = delete;

  int64_t count() const { return static_cast<int64_t>(pieces_.size()); }
  std::string text(int64_t index) const;
  std::string place(int64_t index) const;

 private:
  struct Piece {
    uint64_t offset;
    uint32_t n_bytes;
    uint32_t file;
    int64_t line;
  };
  struct Source {
    std::string path;
    int descriptor;
  };

  const Piece& piece(int64_t index) const { return pieces_[static_cast<size_t>(index)]; }
  void read_file(const std::string& path, const Files& files, Split split,
                 const std::function<bool(const Found&)>& keep);

  std::vector<Source> sources_;
  std::vector<Piece> pieces_;
};

/// Throws okapi::Failure naming place and field, as "FILE:LINE: text: is missing".
[[noreturn]] void fail_piece(const std::string& place, const std::string& problem);

/// Unicode characters of a text that is UTF-8.
int64_t n_characters(std::string_view text);

/// Filter by length, as all plugins of text declare it.
class CharacterFilter {
 public:
  explicit CharacterFilter(const okapi::Params& params);
  bool keeps(std::string_view text) const;

 private:
  int64_t min_;
  int64_t max_;
};

/// The declarations that go with the above.
inline constexpr okapi::Param kPathParam = {
    "path", okapi::kRequiredText,
    "a file, plain or packed with gzip or Zstandard, or a folder of them"};
inline constexpr okapi::Param kSuffixParam = {"suffix", okapi::kUnsetText,
                                              "of a folder, only files whose names end so"};
inline constexpr okapi::Param kSpoolParam = {
    "spool", "/var/tmp", "folder for unpacked copies of compressed files, which have no name"};
inline constexpr okapi::Param kMinCharactersParam = {
    "min_characters", 1, "shorter documents are left out", okapi::at_least(0)};
inline constexpr okapi::Param kMaxCharactersParam = {
    "max_characters", okapi::kUnsetInteger, "longer documents are left out", okapi::at_least(1)};

}  // namespace corpus
