#include "capi/src/text_out.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "capi/src/guard.h"

namespace okapi::capi {

namespace {

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

}  // namespace

void check_buffer(const void* out, size_t capacity, const char* name) {
  if (out == nullptr && capacity > 0)
    refuse(name, "must not be NULL while its capacity is above 0");
}

void refuse_capacity(const char* name, const char* unit, size_t wanted, size_t capacity) {
  throw Error(Code::out_of_range, std::string(name) + " needs room for " + std::to_string(wanted) +
                                      " " + unit + ", and has it for " + std::to_string(capacity))
      .field(name);
}

void copy_text(std::string_view text, char* buffer, size_t capacity, size_t* needed) {
  check_buffer(buffer, capacity, "buffer");
  if (needed != nullptr) *needed = text.size() + 1;
  if (buffer == nullptr) return;
  if (capacity == 0) refuse_capacity("buffer", "bytes", text.size() + 1, capacity);

  size_t n_copied = std::min(text.size(), capacity - 1);
  if (n_copied < text.size()) {
    while (n_copied > 0 && continues_character(text[n_copied])) --n_copied;
  }
  std::memcpy(buffer, text.data(), n_copied);
  buffer[n_copied] = '\0';
  if (n_copied < text.size()) refuse_capacity("buffer", "bytes", text.size() + 1, capacity);
}

Json parse_json_argument(const char* text, const char* name) {
  try {
    return parse_json(text, {"capi", "", name});
  } catch (const Error& cause) {
    // The text is an argument, not a file that could be damaged.
    if (cause.code() != Code::data_loss) throw;
    throw Error(Code::invalid_argument, std::string(name) + " is not JSON")
        .field(name)
        .because(cause);
  }
}

Json parse_parameters(const char* text, const char* name) {
  if (text == nullptr || *text == '\0') return Json::object();
  Json json = parse_json_argument(text, name);
  if (!json.is_object()) refuse(name, ("must be a JSON object, is " + describe_json(json)).c_str());
  return json;
}

}  // namespace okapi::capi
