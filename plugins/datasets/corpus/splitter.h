// Cuts a stream of bytes into pieces: fed block by block, it reports each piece when it is whole.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace corpus {

/// A piece within the stream.
struct StreamPiece {
  std::string_view bytes;
  uint64_t offset;  ///< of its first byte
  int64_t line;     ///< of its first byte, from 1
};

class Splitter {
 public:
  using Report = std::function<void(const StreamPiece&)>;
  virtual ~Splitter() = default;

  virtual void feed(std::string_view block) = 0;
  virtual void finish() = 0;  ///< the stream has ended

  /// Everything as one piece; nothing for an empty stream.
  static std::unique_ptr<Splitter> whole(std::string path, Report report);
  /// Lines without their breaks; blank ones are left out.
  static std::unique_ptr<Splitter> lines(std::string path, Report report);
  /// Whole lines, with their breaks, of `n_bytes` or just more; the last may be shorter.
  static std::unique_ptr<Splitter> parts(std::string path, size_t n_bytes, Report report);
  /// The objects of a JSON array, found by brackets and quotes alone: what is within an object is
  /// for a parser to check. A stream that does not begin with '[' is cut into lines.
  static std::unique_ptr<Splitter> json(std::string path, Report report);
};

}  // namespace corpus
