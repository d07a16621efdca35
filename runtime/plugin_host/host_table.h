// The okapi_host that a plugin, or one dataset or task of it, is given.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <okapi/plugin/host.h>

#include "runtime/base/log.h"

namespace okapi {

/// A tokenizer as plugins see one. The functions may be called from several threads at once.
struct TokenizerFunctions {
  int32_t vocab_size = 0;
  int32_t bos_id = -1;  ///< -1: none
  int32_t eos_id = -1;
  std::function<std::vector<int32_t>(std::string_view text, bool add_bos)> encode;
  std::function<std::string(std::span<const int32_t> ids)> decode;
};

class HostTable {
 public:
  /// `component` names the plugin in the log; `tokenizer` may be null.
  HostTable(std::shared_ptr<const Logger> logger, std::string component,
            std::shared_ptr<const TokenizerFunctions> tokenizer = nullptr);
  HostTable(const HostTable&) = delete;
  HostTable& operator=(const HostTable&) = delete;

  const okapi_host* table() const { return &table_; }

 private:
  const void* extension(std::string_view id) const;
  void log(int32_t level, std::string_view component, const char* message) const;
  void fill_tokenizer();

  std::shared_ptr<const Logger> logger_;
  std::string component_;
  std::shared_ptr<const TokenizerFunctions> tokenizer_;
  okapi_host table_{};
  okapi_log_service_v1 log_service_{};
  okapi_tokenizer_service_v1 tokenizer_service_{};
};

/// The stream (seed, stream) at its first draw.
okapi_random make_random(uint64_t seed, uint64_t stream);

}  // namespace okapi
