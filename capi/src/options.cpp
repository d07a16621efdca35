#include "capi/src/options.h"

#include <limits>

namespace okapi::capi {

namespace {

[[noreturn]] void refuse_struct(const char* name, const std::string& problem, const char* init) {
  throw Error(Code::invalid_argument,
              std::string(name) + ".struct_size " + problem + "; start from " + init)
      .field(std::string(name) + ".struct_size");
}

}  // namespace

void check_struct(const void* given, uint32_t size, uint32_t known, std::span<const uint32_t> ends,
                  const char* name, const char* init) {
  if (size == 0) refuse_struct(name, "is 0", init);

  // A size that cuts a field in two is no older version of the struct but a struct read wrongly,
  // for instance by another language's declaration of it.
  if (size < known && std::find(ends.begin(), ends.end(), size) == ends.end()) {
    refuse_struct(name, "is " + std::to_string(size) + ", where no field ends", init);
  }

  if (given == nullptr) return;
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (uint32_t i = known; i < size; ++i) {
    if (bytes[i] == 0) continue;
    refuse_struct(name,
                  "is " + std::to_string(size) +
                      ": a newer okapi's struct, which sets a field that this one (" +
                      std::to_string(known) + " bytes) does not know, at byte " + std::to_string(i),
                  init);
  }
}

void check_boolean(uint8_t value, const char* name) {
  if (value > 1) refuse(name, ("must be 0 or 1, is " + std::to_string(value)).c_str());
}

void check_reserved(std::span<const uint8_t> bytes, const char* name) {
  for (const uint8_t byte : bytes) {
    if (byte != 0) refuse(name, "must be zero");
  }
}

void check_range(int64_t value, int64_t low, int64_t high, const char* name) {
  if (value >= low && value <= high) return;
  const bool is_bounded = high < std::numeric_limits<int64_t>::max();
  const std::string wanted = is_bounded
                                 ? "in [" + std::to_string(low) + ", " + std::to_string(high) + "]"
                                 : "at least " + std::to_string(low);
  refuse(name, ("must be " + wanted + ", is " + std::to_string(value)).c_str());
}

}  // namespace okapi::capi
