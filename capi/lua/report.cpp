#include "capi/lua/report.h"

#include <string>
#include <string_view>

namespace okapi::api {

using Json = nlohmann::ordered_json;

static void put_first_metric(const Json& metrics, Json& into) {
  if (!metrics.is_array() || metrics.empty()) return;
  const Json& first = metrics[0];
  for (const char* key : {"value", "low", "high", "n"}) {
    if (first.contains(key)) into[key] = first[key];
  }
  if (first.value("aggregate", "") == "rate") into["accuracy"] = into["value"];
}

void add_headline(Json& report) {
  // Copies: adding a member moves the others.
  const Json metrics = report.value("metrics", Json());
  if (!metrics.is_array() || metrics.empty()) return;
  report["metric"] = metrics[0].value("name", "");
  put_first_metric(metrics, report);

  const Json groups = report.value("groups", Json::object());
  for (const auto& [attribute, entries] : groups.items()) {
    Json list = Json::array();
    for (const Json& entry : entries) {
      Json row = {{attribute, entry.value("value", Json())}};
      // "value" is the metric's here, the attribute has its own name.
      put_first_metric(entry.value("metrics", Json::array()), row);
      list.push_back(std::move(row));
    }
    // Groups by tenths of something are groups by that thing.
    constexpr std::string_view kTenths = "_decile";
    const bool is_tenths = attribute.size() > kTenths.size() && attribute.ends_with(kTenths);
    const std::string noun =
        attribute.substr(0, attribute.size() - (is_tenths ? kTenths.size() : 0));
    report["by_" + noun] = std::move(list);
  }
}

}  // namespace okapi::api
