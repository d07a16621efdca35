// A position-encoding scheme as one C++ function. See rope.h for what it may answer.
//
//   static okapi::RopeTable half(const okapi_rope_geometry& geometry, const okapi::Params& params)
//   {
//     okapi::RopeTable table(geometry);
//     for (double& freq : table.inv_freq) freq /= params.number("scale");
//     return table;
//   }
//   OKAPI_ROPE_PLUGIN("half", "every rotation slower", .params = kParams, .table = half)
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include <okapi/plugin/rope.h>
#include <okapi/plugin/plugin.hpp>

namespace okapi {

/// What a scheme answers for one layer.
struct RopeTable {
  RopeTable() = default;

  /// Starts from the table so far, for schemes that change it.
  explicit RopeTable(const okapi_rope_geometry& geometry)
      : inv_freq(geometry.inv_freq, geometry.inv_freq + geometry.rotary_dim / 2) {}

  std::vector<double> inv_freq;      ///< [rotary_dim / 2] radians per position; 0: does not rotate
  double rotation_gain = 1;          ///< multiplies cos and sin
  double attention_temperature = 1;  ///< divides q.k / sqrt(head_dim)
};

/// base^(-2 pair / rotary_dim): plain RoPE, before any scheme.
inline double plain_inv_freq(double base, int pair, int rotary_dim) {
  return std::pow(base, -2.0 * pair / rotary_dim);
}

/// What OKAPI_ROPE_PLUGIN names. All hooks may be left out.
struct RopePlugin {
  std::span<const Param> params = {};
  RopeTable (*table)(const okapi_rope_geometry& geometry, const Params& params) = nullptr;

  /// Real positions, n of them, ascending.
  std::vector<double> (*positions)(const okapi_rope_geometry& geometry, const Params& params,
                                   int64_t n, Random& draw) = nullptr;

  /// Natural logarithms of the factors on query and key, both [positions.size(), rotary_dim / 2].
  void (*log_magnitude)(const okapi_rope_geometry& geometry, const Params& params,
                        std::span<const double> positions, std::span<double> log_q,
                        std::span<double> log_k) = nullptr;

  uint32_t flags = 0;                               ///< OKAPI_ROPE_*; THREAD_SAFE is added
  uint32_t (*more_flags)(const Params&) = nullptr;  ///< those that depend on the parameters
};

namespace detail {

/// The C table of a scheme. An instance is its parameters, which never change: calls may overlap.
template <const RopePlugin& kPlugin>
struct RopeGlue {
  static int32_t create(void*, const okapi_params* params, void** instance, uint32_t* flags,
                        const okapi_error_sink* sink) {
    return guard(sink, [&] {
      auto made = std::make_unique<Params>(*params);
      if constexpr (kPlugin.more_flags != nullptr) *flags |= kPlugin.more_flags(*made);
      *instance = made.release();
    });
  }

  static void destroy(void* instance) { delete static_cast<Params*>(instance); }

  static int32_t table(void* instance, const okapi_rope_geometry* geometry,
                       okapi_rope_table_v1* out, const okapi_error_sink* sink) {
    return guard(sink, [&] {
      const RopeTable table = kPlugin.table(*geometry, *static_cast<const Params*>(instance));
      out->n_written = static_cast<int64_t>(table.inv_freq.size());
      if (out->n_written != out->n_pairs) return;  // the host says what is wrong with that
      std::copy(table.inv_freq.begin(), table.inv_freq.end(), out->inv_freq);
      out->rotation_gain = table.rotation_gain;
      out->attention_temperature = table.attention_temperature;
    });
  }

  static int32_t positions(void* instance, const okapi_rope_geometry* geometry, int64_t n,
                           okapi_random* draw, double* positions, const okapi_error_sink* sink) {
    return guard(sink, [&] {
      Random random(draw);
      const std::vector<double> made =
          kPlugin.positions(*geometry, *static_cast<const Params*>(instance), n, random);
      if (made.size() != static_cast<size_t>(n)) {
        throw Failure(OKAPI_INTERNAL, "gave " + std::to_string(made.size()) +
                                          " positions instead of " + std::to_string(n));
      }
      std::copy(made.begin(), made.end(), positions);
    });
  }

  static int32_t log_magnitude(void* instance, const okapi_rope_geometry* geometry,
                               const double* positions, int64_t n, double* log_q, double* log_k,
                               const okapi_error_sink* sink) {
    return guard(sink, [&] {
      const auto n_positions = static_cast<size_t>(n);
      const size_t n_values = n_positions * static_cast<size_t>(geometry->rotary_dim / 2);
      kPlugin.log_magnitude(*geometry, *static_cast<const Params*>(instance),
                            {positions, n_positions}, {log_q, n_values}, {log_k, n_values});
    });
  }

  static constexpr okapi_rope_scheme_v1 kTable = {
      .struct_size = sizeof(okapi_rope_scheme_v1),
      .flags = kPlugin.flags | OKAPI_ROPE_THREAD_SAFE,
      .create = create,
      .destroy = destroy,
      .table = kPlugin.table != nullptr ? table : nullptr,
      .positions = kPlugin.positions != nullptr ? positions : nullptr,
      .log_magnitude = kPlugin.log_magnitude != nullptr ? log_magnitude : nullptr,
  };
};

inline constexpr const char* kRopeExtension = OKAPI_ROPE_EXTENSION;

}  // namespace detail
}  // namespace okapi

/// Exports a scheme: its name, a one-line summary, then fields of okapi::RopePlugin by name.
#define OKAPI_ROPE_PLUGIN(plugin_name, plugin_summary, ...)                                       \
  static constexpr ::okapi::RopePlugin kOkapiRopePlugin = {__VA_ARGS__};                          \
  extern "C" OKAPI_PLUGIN_EXPORT constinit const okapi_plugin_entry okapi_plugin_entry_v1 =       \
      ::okapi::detail::make_entry<::okapi::detail::Stateless<                                     \
          ::okapi::detail::RopeGlue<kOkapiRopePlugin>::kTable, ::okapi::detail::kRopeExtension>>( \
          {.kind = "rope", .name = plugin_name, .summary = plugin_summary},                       \
          kOkapiRopePlugin.params);
