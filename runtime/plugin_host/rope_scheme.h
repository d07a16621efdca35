// A position-encoding scheme behind okapi.rope/1: from a plugin, or registered in process. Answers
// are checked here, so that whoever asks gets finite tables of the right size or an error that
// names the scheme.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include <okapi/plugin/rope.h>

#include "runtime/plugin_host/loaded_plugin.h"
#include "runtime/plugin_host/param_schema.h"

namespace okapi {

class RopeScheme {
 public:
  /// Of a plugin.
  explicit RopeScheme(const std::shared_ptr<const LoadedPlugin>& plugin);

  /// Registered in process: `owner` keeps `user_data` alive.
  RopeScheme(const std::string& name, ParamSchema parameters, const okapi_rope_scheme_v1& table,
             void* user_data, std::shared_ptr<void> owner);

  const PluginIdentity& identity() const { return identity_; }
  const std::string& name() const { return identity_.name; }
  const ParamSchema& parameters() const { return parameters_; }

  /// "rope.yarn": who errors and log records name.
  const std::string& component() const { return parameters_.owner(); }

  uint32_t flags() const { return table_.flags; }

 private:
  friend class RopeInstance;

  std::shared_ptr<const void> owner_;
  PluginIdentity identity_;
  ParamSchema parameters_;
  okapi_rope_scheme_v1 table_{};
  void* state_ = nullptr;
};

/// A scheme with its parameters. Functions may be called from several threads: calls wait for one
/// another unless the scheme says it is thread-safe. All run on the calling thread.
class RopeInstance {
 public:
  /// Throws what the scheme says of the parameters.
  RopeInstance(std::shared_ptr<const RopeScheme> scheme, std::shared_ptr<const ParamValues> params);
  RopeInstance(const RopeInstance&) = delete;
  RopeInstance& operator=(const RopeInstance&) = delete;
  ~RopeInstance();

  const RopeScheme& scheme() const { return *scheme_; }
  const ParamValues& params() const { return *params_; }
  const std::shared_ptr<const ParamValues>& shared_params() const { return params_; }
  uint32_t flags() const { return flags_; }
  bool has_magnitudes() const { return scheme_->table_.log_magnitude != nullptr; }
  bool has_positions(bool training) const;

  /// Changes `inv_freq` from the table so far to this scheme's, and tells the scheme's own factors.
  /// Throws internal, naming the scheme, on a wrong number of frequencies, one that is not finite
  /// or negative, a factor that is not positive, or on another answer to the same question.
  void table(const okapi_rope_geometry& geometry, std::span<double> inv_freq, double& rotation_gain,
             double& attention_temperature) const;

  /// Holds the scheme to its claim to be plain RoPE at scale 1, if it makes it: evaluated anew with
  /// scale 1, the parameters that must be given, and all others at their defaults. Throws internal.
  void check_claims(const okapi_rope_geometry& geometry) const;

  /// Fills n positions; checks that they are finite, not negative, ascending and the same when
  /// drawn again.
  void positions(const okapi_rope_geometry& geometry, std::span<double> positions) const;

  /// Fills natural logarithms [positions.size(), pairs] and checks that they are finite.
  void log_magnitude(const okapi_rope_geometry& geometry, std::span<const double> positions,
                     std::span<double> log_q, std::span<double> log_k) const;

 private:
  std::unique_lock<std::mutex> lock() const;

  std::shared_ptr<const RopeScheme> scheme_;
  std::shared_ptr<const ParamValues> params_;
  void* instance_ = nullptr;
  uint32_t flags_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace okapi
