// Memory that plugins fill during one call and the host frees all at once.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <okapi/plugin/host.h>

namespace okapi {

class Arena {
 public:
  Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  const okapi_arena* table() const { return &table_; }

 private:
  void* allocate(size_t n_bytes);

  okapi_arena table_{};
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace okapi
