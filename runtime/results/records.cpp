#include "runtime/results/records.h"

#include <array>

#include "runtime/base/sha256.h"

namespace okapi {

const char* name_of(Aggregate aggregate) {
  switch (aggregate) {
    case Aggregate::rate:
      return "rate";
    case Aggregate::mean:
      return "mean";
    case Aggregate::weighted_mean:
      return "weighted_mean";
    case Aggregate::sum:
      return "sum";
  }
  return "unknown";
}

std::string Run::sha256() const {
  const std::string text = identity.dump();  // nlohmann::json sorts keys: one text per identity
  return sha256_of(text.data(), text.size());
}

std::string hash_of_prompt(const std::string& prompt, const std::vector<int32_t>& ids) {
  Sha256 hash;
  hash.update(prompt.data(), prompt.size());
  hash.update(std::string_view("\0", 1));
  for (int32_t id : ids) {
    const auto bits = static_cast<uint32_t>(id);
    const std::array<unsigned char, 4> bytes = {
        static_cast<unsigned char>(bits), static_cast<unsigned char>(bits >> 8),
        static_cast<unsigned char>(bits >> 16), static_cast<unsigned char>(bits >> 24)};
    hash.update(bytes.data(), bytes.size());
  }
  return hash.hex();
}

std::string valid_utf8(const std::string& text) {
  // The JSON library knows how to replace what is broken; parsing its text gives the bytes back.
  const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

}  // namespace okapi
