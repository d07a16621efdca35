// What a trainer reads: windows of tokens by number, each with the targets that carry loss.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace okapi {

/// Consecutive tokens, and which of them are learned.
struct TokenWindow {
  std::vector<int32_t> ids;      ///< [n], at least 2
  std::vector<uint8_t> learned;  ///< [n]: 1 where the loss of ids[t], given those before, counts;
                                 ///< learned[0] is 0
  std::string identity;          ///< names the window in messages: dataset, record, offset
};

/// An order of windows that depends on the source's parameters and seed alone, so that one number
/// is the whole state of a trainer's data position. Thread-safe.
class WindowSource {
 public:
  virtual ~WindowSource() = default;

  /// Windows 0 .. count-1 are one epoch, and later numbers the following epochs, each in an order
  /// of its own; -1: endless, none comes twice (but in a mixture, whose parts that end go on in
  /// epochs of their own).
  virtual int64_t count() const = 0;

  virtual TokenWindow window(int64_t index) const = 0;

  /// Most tokens any window has.
  virtual int64_t max_tokens() const = 0;

  /// Datasets with their parameters, seeds and file hashes: goes into checkpoints and results.
  virtual Json describe() const = 0;
};

}  // namespace okapi
