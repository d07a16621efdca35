// Rows of rotation factors in backend memory, one per position, and those that sessions share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "backends/backend.h"
#include "runtime/device/tensor.h"
#include "runtime/model/rotary/rope_table.h"
#include "runtime/model/rotary/rotation_factors.h"

namespace okapi {

/// Room for `capacity` rows of cos and sin, [capacity, n_pairs] f32 each.
class RotationRows {
 public:
  RotationRows(const std::shared_ptr<Backend>& backend, int64_t capacity, int64_t n_pairs);

  int64_t capacity() const { return capacity_; }
  size_t bytes() const { return 2 * bytes_of(capacity_); }
  RotaryView view(int64_t first, int64_t n) const;

  /// Makes rows of these positions, a block at a time, and waits until they are there.
  void fill(RotationFactors& factors, int64_t first, std::span<const double> positions,
            Stream& stream);

  /// Copies n rows from the host. The stream may still be reading them when this returns.
  void upload(int64_t first, int64_t n, const float* cos, const float* sin, Stream& stream);
  void copy_from(const RotationRows& other, int64_t n, Stream& stream);

 private:
  size_t bytes_of(int64_t n_rows) const {
    return static_cast<size_t>(n_rows * n_pairs_) * sizeof(float);
  }

  int64_t capacity_;
  int64_t n_pairs_;
  Tensor cos_;
  Tensor sin_;
};

/// How many rows to make when `n_needed` are, so that a sequence that grows makes few.
int64_t rotation_capacity(int64_t n_needed);

/// Rows of one table for the positions 0, 1, 2, ... Safe from several threads.
class CountedRotation {
 public:
  CountedRotation(std::shared_ptr<Backend> backend, const RopeTable& table)
      : backend_(std::move(backend)),
        n_pairs_(static_cast<int64_t>(table.inv_freq.size())),
        factors_(table) {}

  /// At least `n` rows, ready to be read by any stream. Rows that were given out stay as they are.
  std::shared_ptr<const RotationRows> rows(int64_t n, Stream& stream);

  size_t bytes() const { return bytes_; }  ///< that the rows occupy

 private:
  std::shared_ptr<Backend> backend_;
  int64_t n_pairs_;
  std::mutex mutex_;
  RotationFactors factors_;
  std::shared_ptr<RotationRows> rows_;
  int64_t n_filled_ = 0;
  std::atomic<size_t> bytes_ = 0;
};

/// Counted rotations, so that sessions under equal tables share their rows. Those in use, and the
/// ones used last: to make the rows of a long prompt and bring them to a device takes milliseconds.
class RotationCache {
 public:
  static constexpr size_t kKeptBytes = size_t{64} << 20;

  explicit RotationCache(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}

  std::shared_ptr<CountedRotation> find_or_make(const RopeTable& table);

 private:
  void keep(const std::shared_ptr<CountedRotation>& rotation);

  std::shared_ptr<Backend> backend_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<CountedRotation>> by_table_;  // key: all that decides a row
  std::list<std::shared_ptr<CountedRotation>> last_used_;           ///< the newest first
};

/// Every number of the table that rotates (not the attention temperature), as bytes to compare.
std::string rotation_key(const RopeTable& table);

}  // namespace okapi
