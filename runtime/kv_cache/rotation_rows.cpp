#include "runtime/kv_cache/rotation_rows.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>
#include <vector>

namespace okapi {

RotationRows::RotationRows(const std::shared_ptr<Backend>& backend, int64_t capacity,
                           int64_t n_pairs)
    : capacity_(capacity),
      n_pairs_(n_pairs),
      cos_(backend, DType::f32, {capacity, n_pairs}),
      sin_(backend, DType::f32, {capacity, n_pairs}) {}

RotaryView RotationRows::view(int64_t first, int64_t n) const {
  const auto rows = [&](const Tensor& tensor) {
    const auto* data = static_cast<const float*>(tensor.view().data) + first * n_pairs_;
    return ConstTensorView(data, DType::f32, {n, n_pairs_});
  };
  return {rows(cos_), rows(sin_)};
}

void RotationRows::upload(int64_t first, int64_t n, const float* cos, const float* sin,
                          Stream& stream) {
  stream.upload(cos_.rows(first, n).data, cos, bytes_of(n));
  stream.upload(sin_.rows(first, n).data, sin, bytes_of(n));
}

// The rows of a long prompt are tens of megabytes: fresh host memory for all of them costs more
// than the rows do, and a block stays in the cache until it is uploaded.
void RotationRows::fill(RotationFactors& factors, int64_t first, std::span<const double> positions,
                        Stream& stream) {
  constexpr int64_t kBlockValues = int64_t{1} << 16;
  const auto n = static_cast<int64_t>(positions.size());
  const int64_t n_block = std::min(n, std::max<int64_t>(1, kBlockValues / n_pairs_));
  std::vector<float> cos(static_cast<size_t>(n_block * n_pairs_));
  std::vector<float> sin(cos.size());
  for (int64_t begin = 0; begin < n; begin += n_block) {
    const int64_t n_rows = std::min(n_block, n - begin);
    factors.fill(positions.subspan(static_cast<size_t>(begin), static_cast<size_t>(n_rows)),
                 cos.data(), sin.data());
    upload(first + begin, n_rows, cos.data(), sin.data(), stream);
    stream.synchronize();  // before the host's block is written again
  }
}

void RotationRows::copy_from(const RotationRows& other, int64_t n, Stream& stream) {
  stream.copy(cos_.view().data, other.cos_.view().data, bytes_of(n));
  stream.copy(sin_.view().data, other.sin_.view().data, bytes_of(n));
}

int64_t rotation_capacity(int64_t n_needed) {
  constexpr int64_t kLeast = 256;
  return std::max(kLeast, n_needed + n_needed / 2);
}

std::shared_ptr<const RotationRows> CountedRotation::rows(int64_t n, Stream& stream) {
  constexpr int64_t kAhead = 256;  // so that decoding fills rows now and then, not at each token
  const std::lock_guard lock(mutex_);
  if (n <= n_filled_) return rows_;

  std::shared_ptr<RotationRows> filled = rows_;
  if (!filled || n > filled->capacity()) {
    filled = std::make_shared<RotationRows>(backend_, rotation_capacity(n), n_pairs_);
    if (rows_) filled->copy_from(*rows_, n_filled_, stream);
  }
  const int64_t n_after = std::min(filled->capacity(), std::max(n, n_filled_ + kAhead));
  const int64_t n_new = n_after - n_filled_;
  std::vector<double> positions(static_cast<size_t>(n_new));
  std::iota(positions.begin(), positions.end(), static_cast<double>(n_filled_));
  filled->fill(factors_, n_filled_, positions, stream);

  rows_ = std::move(filled);
  n_filled_ = n_after;
  bytes_ = rows_->bytes();
  return rows_;
}

std::string rotation_key(const RopeTable& table) {
  std::string key(reinterpret_cast<const char*>(table.inv_freq.data()),
                  table.inv_freq.size() * sizeof(double));
  key.append(reinterpret_cast<const char*>(&table.rotation_gain), sizeof(double));
  return key;
}

std::shared_ptr<CountedRotation> RotationCache::find_or_make(const RopeTable& table) {
  const std::lock_guard lock(mutex_);
  std::erase_if(by_table_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<CountedRotation>& known = by_table_[rotation_key(table)];
  std::shared_ptr<CountedRotation> rotation = known.lock();
  if (!rotation) {
    rotation = std::make_shared<CountedRotation>(backend_, table);
    known = rotation;
  }
  keep(rotation);
  return rotation;
}

void RotationCache::keep(const std::shared_ptr<CountedRotation>& rotation) {
  last_used_.remove(rotation);
  last_used_.push_front(rotation);
  size_t bytes = 0;
  for (auto kept = last_used_.begin(); kept != last_used_.end();) {
    bytes += (*kept)->bytes();
    const bool stays = *kept == rotation || bytes <= kKeptBytes;
    kept = stays ? std::next(kept) : last_used_.erase(kept);
  }
}

}  // namespace okapi
