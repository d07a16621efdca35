#include "tests/support/plugin_harness.h"

#include "runtime/plugin_host/conformance_params.h"

namespace okapi::test {

std::filesystem::path plugin_folder() {
  return std::filesystem::path(OKAPI_BUILD_LIB) / "okapi" / "plugins";
}

std::shared_ptr<PluginHost> make_plugin_host() {
  return PluginHost::create({.paths = {},
                             .uses_environment = false,
                             .install_folder = plugin_folder(),
                             .logger = nullptr});
}

RopeGeometry reference_geometry() {
  RopeGeometry geometry;
  geometry.head_dim = 8;
  geometry.rotary_dim = 8;
  geometry.trained_length = 2048;
  geometry.target_length = 8192;
  return geometry;
}

std::shared_ptr<const Rope> parse_rope(const std::string& spec, const RopeGeometry& geometry) {
  return Rope::parse(spec, *make_plugin_host(), geometry);
}

RopeTable load_rope(const std::string& spec, const RopeGeometry& geometry) {
  return RopeTable::evaluate(*parse_rope(spec, geometry), geometry);
}

std::string example_spec(const PluginMetadata& plugin, int64_t n_pairs) {
  const Json given = example_params(plugin.parameters, static_cast<size_t>(n_pairs));
  const ParamFacts facts{10000, 2048, 8192, 2 * n_pairs, 2 * n_pairs};
  std::string spec = plugin.name;
  char separator = ':';
  const auto values = plugin.parameters.resolve(given, &facts);
  for (const ParamValue& value : values->values()) {
    if (value.source != OKAPI_PARAM_GIVEN) continue;
    spec += separator + value.name + "=" + value.spec_text();
    separator = ',';
  }
  return spec;
}

}  // namespace okapi::test
