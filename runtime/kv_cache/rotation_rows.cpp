#include "runtime/kv_cache/rotation_rows.h"

#include <algorithm>
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

void RotationRows::copy_from(const RotationRows& other, int64_t n, Stream& stream) {
  stream.copy(cos_.view().data, other.cos_.view().data, bytes_of(n));
  stream.copy(sin_.view().data, other.sin_.view().data, bytes_of(n));
}

int64_t rotation_capacity(int64_t n_needed) {
  constexpr int64_t kLeast = 256;
  return std::max(kLeast, n_needed + n_needed / 2);
}

std::shared_ptr<const RotationRows> CountedRotation::rows(int64_t n, Stream& stream) {
  const std::lock_guard lock(mutex_);
  const int64_t n_before = rows_ ? rows_->capacity() : 0;
  if (n <= n_before) return rows_;

  const auto n_pairs = static_cast<int64_t>(table_.inv_freq.size());
  auto grown = std::make_shared<RotationRows>(backend_, rotation_capacity(n), n_pairs);
  if (rows_) grown->copy_from(*rows_, n_before, stream);

  const int64_t n_new = grown->capacity() - n_before;
  std::vector<double> positions(static_cast<size_t>(n_new));
  std::iota(positions.begin(), positions.end(), static_cast<double>(n_before));
  std::vector<float> cos(static_cast<size_t>(n_new * n_pairs));
  std::vector<float> sin(cos.size());
  fill_rotation(table_, positions, cos.data(), sin.data());
  grown->upload(n_before, n_new, cos.data(), sin.data(), stream);
  stream.synchronize();

  rows_ = std::move(grown);
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
  return rotation;
}

}  // namespace okapi
