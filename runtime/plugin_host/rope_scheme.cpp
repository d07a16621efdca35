#include "runtime/plugin_host/rope_scheme.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/base/number_text.h"
#include "runtime/plugin_host/plugin_call.h"
#include "runtime/plugin_host/plugin_table.h"

namespace okapi {

namespace {

constexpr size_t kLeastTable =
    offsetof(okapi_rope_scheme_v1, table) + sizeof(okapi_rope_scheme_v1::table);

// A scheme that claims to be plain at scale 1 may differ from it by rounding only.
constexpr double kPlainTolerance = 1e-12;
constexpr const char* kScale = "scale";

// Frequencies behind the ones a scheme may write, to see whether it wrote too many.
constexpr size_t kGuards = 8;
constexpr double kGuardValue = -0x1.23456789abcdep-77;

// All schemes of a run draw positions from this stream of its seed.
constexpr uint64_t kPositionStream = 0x706f736974696f6e;  // "position"

Error broken(const RopeScheme& scheme, const std::string& field, const std::string& problem) {
  return Error(Code::internal, scheme.component() + ": " + field + ": " + problem)
      .in(scheme.component())
      .field(field);
}

std::string at_index(const char* what, size_t index) {
  return std::string(what) + "[" + std::to_string(index) + "]";
}

void check_factor(const RopeScheme& scheme, const char* field, double value) {
  if (!std::isfinite(value) || value <= 0) {
    throw broken(scheme, field,
                 "wanted a finite number greater than 0, found " + number_text(value));
  }
}

bool same_bytes(std::span<const double> a, std::span<const double> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// One answer to "table", with what surrounds it.
struct TableAnswer {
  std::vector<double> inv_freq;  ///< with guards behind
  okapi_rope_table_v1 table{};

  explicit TableAnswer(std::span<const double> so_far) : inv_freq(so_far.begin(), so_far.end()) {
    inv_freq.resize(so_far.size() + kGuards, kGuardValue);
    table.struct_size = sizeof table;
    table.n_pairs = static_cast<int32_t>(so_far.size());
    table.inv_freq = inv_freq.data();
    table.rotation_gain = 1;
    table.attention_temperature = 1;
  }

  std::span<const double> frequencies() const {
    return std::span(inv_freq).first(inv_freq.size() - kGuards);
  }

  void check(const RopeScheme& scheme) const {
    if (table.n_written != table.n_pairs) {
      throw broken(scheme, "inv_freq",
                   "wrote " + std::to_string(table.n_written) + " frequencies, wanted " +
                       std::to_string(table.n_pairs));
    }
    for (size_t i = inv_freq.size() - kGuards; i < inv_freq.size(); ++i) {
      if (inv_freq[i] != kGuardValue) {
        throw broken(scheme, "inv_freq",
                     "wrote more than " + std::to_string(table.n_pairs) + " frequencies");
      }
    }
    for (size_t pair = 0; pair < frequencies().size(); ++pair) {
      const double value = inv_freq[pair];
      if (!std::isfinite(value) || value < 0) {
        throw broken(scheme, at_index("inv_freq", pair),
                     "wanted a finite number of at least 0, found " + number_text(value));
      }
    }
    check_factor(scheme, "rotation_gain", table.rotation_gain);
    check_factor(scheme, "attention_temperature", table.attention_temperature);
  }

  bool operator==(const TableAnswer& other) const {
    return same_bytes(inv_freq, other.inv_freq) &&
           same_bytes({&table.rotation_gain, 1}, {&other.table.rotation_gain, 1}) &&
           same_bytes({&table.attention_temperature, 1}, {&other.table.attention_temperature, 1});
  }
};

}  // namespace

RopeScheme::RopeScheme(const std::shared_ptr<const LoadedPlugin>& plugin)
    : owner_(plugin),
      identity_(plugin->identity()),
      parameters_(plugin->metadata().parameters),
      table_(read_plugin_table(
          static_cast<const okapi_rope_scheme_v1*>(plugin->extension(OKAPI_ROPE_EXTENSION)),
          kLeastTable, parameters_.owner())),
      state_(plugin->state()) {}

RopeScheme::RopeScheme(const std::string& name, ParamSchema parameters,
                       const okapi_rope_scheme_v1& table, void* user_data,
                       std::shared_ptr<void> owner)
    : owner_(std::move(owner)),
      identity_{"in-process.rope." + name, name, "", "", ""},
      parameters_(std::move(parameters)),
      table_(read_plugin_table(&table, kLeastTable, parameters_.owner())),
      state_(user_data) {}

RopeInstance::RopeInstance(std::shared_ptr<const RopeScheme> scheme,
                           std::shared_ptr<const ParamValues> params)
    : scheme_(std::move(scheme)), params_(std::move(params)), flags_(scheme_->flags()) {
  if (scheme_->table_.create == nullptr) {
    instance_ = scheme_->state_;
    return;
  }
  call_plugin(scheme_->component(), [&](const okapi_error_sink* sink) {
    return scheme_->table_.create(scheme_->state_, params_->table(), &instance_, &flags_, sink);
  });
}

RopeInstance::~RopeInstance() {
  if (scheme_->table_.create != nullptr && scheme_->table_.destroy != nullptr) {
    scheme_->table_.destroy(instance_);
  }
}

bool RopeInstance::has_positions(bool training) const {
  const uint32_t flag =
      training ? OKAPI_ROPE_POSITIONS_IN_TRAINING : OKAPI_ROPE_POSITIONS_IN_EVALUATION;
  return scheme_->table_.positions != nullptr && (flags_ & flag) != 0;
}

std::unique_lock<std::mutex> RopeInstance::lock() const {
  if ((flags_ & OKAPI_ROPE_THREAD_SAFE) != 0) return {};
  return std::unique_lock(mutex_);
}

void RopeInstance::table(const okapi_rope_geometry& geometry, std::span<double> inv_freq,
                         double& rotation_gain, double& attention_temperature) const {
  rotation_gain = 1;
  attention_temperature = 1;
  if (scheme_->table_.table == nullptr) return;

  const std::vector<double> so_far(inv_freq.begin(), inv_freq.end());
  okapi_rope_geometry asked = geometry;
  asked.inv_freq = so_far.data();
  const auto ask = [&] {
    TableAnswer answer(so_far);
    const std::unique_lock<std::mutex> held = lock();
    call_plugin(scheme_->component(), [&](const okapi_error_sink* sink) {
      return scheme_->table_.table(instance_, &asked, &answer.table, sink);
    });
    return answer;
  };

  const TableAnswer answer = ask();
  answer.check(*scheme_);
  if (!(answer == ask())) {
    throw broken(*scheme_, "inv_freq", "asked twice, gave two different tables");
  }
  std::copy(answer.frequencies().begin(), answer.frequencies().end(), inv_freq.begin());
  rotation_gain = answer.table.rotation_gain;
  attention_temperature = answer.table.attention_temperature;
}

void RopeInstance::check_claims(const okapi_rope_geometry& geometry) const {
  if ((flags_ & OKAPI_ROPE_PLAIN_AT_SCALE_1) == 0) return;

  // At the defaults but for what must be given: a gain that was given would be no plain RoPE.
  const ParamSchema& schema = scheme_->parameters();
  Json given = Json::object();
  for (size_t i = 0; i < schema.specs().size(); ++i) {
    if (schema.specs()[i].is_required) given[schema.specs()[i].name] = params_->values()[i].json();
  }
  if (schema.find(kScale) != nullptr) given[kScale] = 1;
  const ParamFacts facts{geometry.base, geometry.trained_length, geometry.target_length,
                         geometry.head_dim, geometry.rotary_dim};
  const RopeInstance at_scale_1(scheme_, schema.resolve(given, &facts));

  std::vector<double> plain(static_cast<size_t>(geometry.rotary_dim / 2));
  for (size_t pair = 0; pair < plain.size(); ++pair) {
    plain[pair] = std::pow(geometry.base, -2.0 * static_cast<double>(pair) / geometry.rotary_dim);
  }
  std::vector<double> found = plain;
  okapi_rope_geometry first_in_list = geometry;
  first_in_list.rotation_gain = 1;
  first_in_list.attention_temperature = 1;
  double gain = 1;
  double temperature = 1;
  at_scale_1.table(first_in_list, found, gain, temperature);

  const auto claimed = [&](const std::string& field, double value, double wanted) {
    if (std::fabs(value - wanted) <= kPlainTolerance * wanted) return;
    throw broken(*scheme_, field,
                 "claims to be plain RoPE at scale 1, where it is " + number_text(wanted) +
                     "; found " + number_text(value));
  };
  for (size_t pair = 0; pair < plain.size(); ++pair) {
    claimed(at_index("inv_freq", pair), found[pair], plain[pair]);
  }
  claimed("rotation_gain", gain, 1);
  claimed("attention_temperature", temperature, 1);
}

void RopeInstance::positions(const okapi_rope_geometry& geometry,
                             std::span<double> positions) const {
  const auto ask = [&](std::span<double> out) {
    okapi_random draw = make_random(geometry.seed, kPositionStream);
    std::fill(out.begin(), out.end(), std::nan(""));
    const std::unique_lock<std::mutex> held = lock();
    call_plugin(scheme_->component(), [&](const okapi_error_sink* sink) {
      return scheme_->table_.positions(instance_, &geometry, static_cast<int64_t>(out.size()),
                                       &draw, out.data(), sink);
    });
  };

  ask(positions);
  for (size_t i = 0; i < positions.size(); ++i) {
    if (!std::isfinite(positions[i]) || positions[i] < 0 ||
        (i > 0 && positions[i] < positions[i - 1])) {
      throw broken(
          *scheme_, at_index("positions", i),
          "wanted finite, ascending positions of at least 0, found " + number_text(positions[i]));
    }
  }
  std::vector<double> again(positions.size());
  ask(again);
  if (!same_bytes(positions, again)) {
    throw broken(*scheme_, "positions", "asked twice with the same draw, gave different ones");
  }
}

void RopeInstance::log_magnitude(const okapi_rope_geometry& geometry,
                                 std::span<const double> positions, std::span<double> log_q,
                                 std::span<double> log_k) const {
  std::fill(log_q.begin(), log_q.end(), std::nan(""));
  std::fill(log_k.begin(), log_k.end(), std::nan(""));
  {
    const std::unique_lock<std::mutex> held = lock();
    call_plugin(scheme_->component(), [&](const okapi_error_sink* sink) {
      return scheme_->table_.log_magnitude(instance_, &geometry, positions.data(),
                                           static_cast<int64_t>(positions.size()), log_q.data(),
                                           log_k.data(), sink);
    });
  }
  const auto check = [&](const char* field, std::span<const double> logs) {
    const auto bad =
        std::find_if_not(logs.begin(), logs.end(), [](double x) { return std::isfinite(x); });
    if (bad != logs.end()) {
      throw broken(*scheme_, at_index(field, static_cast<size_t>(bad - logs.begin())),
                   "wanted a finite number, found " + number_text(*bad));
    }
  };
  check("log_q", log_q);
  check("log_k", log_k);
}

}  // namespace okapi
