#include "capi/cli/description.h"

#include <algorithm>

#include <fmt/format.h>

#include "capi/cli/report_table.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

void print_description(const Json& about) {
  for (const auto& [key, value] : about.items()) {
    std::string text =
        value.is_number_float() ? fmt::format("{}", value.get<double>()) : cell(value);
    if (key == "bytes" || key.ends_with("_bytes")) text = format_bytes(value.get<double>());
    if (value.is_object()) text = cell(value.value("path", Json()), 0);
    std::string line = key;
    line.resize(std::max<size_t>(line.size() + 2, 26), ' ');
    print_line(line + text);
  }
}

}  // namespace okapi::cli
