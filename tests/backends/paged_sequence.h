// A sequence whose keys and values a test knows on the host and lays out in pages itself, by the
// words of KvLayout and by nothing of the backend's.
#pragma once

#include "tests/backends/backend_test.h"

namespace okapi {

/// Rotation tables of n positions with arbitrary angles; pairs have a magnitude too, as with xPos.
struct Rotation {
  Values cosines;  // [n, d/2]
  Values sines;
};
Rotation random_rotation(RandomValues& random, int64_t n, int64_t d);

class PagedSequence {
 public:
  /// Pages for n_keys tokens, filled with NaN: a key nobody stored must not be read.
  PagedSequence(std::shared_ptr<Backend> backend, Stream& stream, const KvLayout& layout,
                int64_t n_keys);

  /// Keys and values [n_keys, K, D] into all pages of a layer from token 0 on.
  void write(int64_t layer, const Values& keys, const Values& values, int64_t n_keys);

  /// Keys (or values) of one kv head as stored: [n_keys, D].
  Values read(int64_t layer, int64_t kv_head, bool values, int64_t n_keys);

  void* const* pages() const { return pointers_.data(); }
  int64_t n_pages() const { return static_cast<int64_t>(pointers_.size()); }

 private:
  size_t element(int64_t layer, int64_t kv_head, int64_t within, bool values) const;

  Stream& stream_;
  KvLayout layout_;
  std::vector<Tensor> memory_;
  std::vector<void*> pointers_;
};

}  // namespace okapi
