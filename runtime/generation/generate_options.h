// How an output is chosen and when it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace okapi {

class CancelToken;

/// Values are those of OKAPI_STOP_* in <okapi/session.h>.
enum class StopReason : int32_t { none = 0, length = 1, eos = 2, text = 3, id = 5, callback = 6 };

struct GenerateOptions {
  float temperature = 0;     ///< 0: greedy, the lowest id on a tie
  int64_t max_tokens = 256;  ///< at least 1
  int64_t min_tokens = 0;    ///< no stop rule ends the output before this many; EOS is not chosen
  int64_t top_k = 0;         ///< 0: all
  float top_p = 1;           ///< smallest set of most likely tokens with this much probability
  bool ignore_eos = false;   ///< EOS is a token like others
  uint64_t seed = 0;         ///< of the sampler
  std::vector<int32_t> stop_ids;  ///< the id that stops is part of the output
  /// Need a tokenizer; the output ends with the token that completes one.
  std::vector<std::string> stop_texts;

  /// Hears each token with the text it adds, whole UTF-8 characters only. False: stop.
  std::function<bool(int32_t id, std::string_view text)> on_token;
  const CancelToken* cancel = nullptr;  ///< borrowed for the call
};

struct Generation {
  std::vector<int32_t> ids;
  StopReason stop_reason = StopReason::none;
};

}  // namespace okapi
