#include "runtime/data/config.h"

#include <algorithm>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

constexpr int64_t kGiraffeSeed = 0x5eed;  // its shuffle and split
constexpr int64_t kMostTokens = int64_t{1} << 31;
constexpr int64_t kDefaultMemory = int64_t{1} << 32;
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

/// What entries of a mixture take from it.
struct Inherited {
  int64_t length = 0;
  double holdout = 0;
  int64_t holdout_windows = 0;
  int64_t split_seed = kGiraffeSeed;
};

const std::vector<std::string> kKeys = {
    "dataset", "tokens",     "mixture",   "params", "seed",    "length",  "overlap",
    "pack",    "bos",        "eos",       "system", "shuffle", "holdout", "holdout_windows",
    "weight",  "split_seed", "max_memory"};

// Before anything is read: a mistyped key would otherwise be one that is missing.
void refuse_unknown(const JsonFields& fields) {
  for (const std::string& key : fields.unread()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end()) continue;
    fields.fail(key, "unknown key" + did_you_mean(key, kKeys) + "; known are " + join_names(kKeys));
  }
}

void refuse_unread(const JsonFields& fields) {
  for (const std::string& key : fields.unread()) fields.fail(key, "has no effect here");
}

class ConfigReader {
 public:
  ConfigReader(uint64_t seed, DataUse use) : seed_(seed), use_(use) {}

  DataConfig read(JsonFields fields, Inherited inherited, bool is_entry) const {
    refuse_unknown(fields);
    DataConfig config;
    int n_origins = 0;
    for (const char* origin : {"dataset", "tokens", "mixture"}) n_origins += fields.has(origin);
    if (n_origins != 1) {
      fields.fail(is_entry ? "mixture" : "dataset",
                  "wanted one of dataset, tokens, mixture, found " + std::to_string(n_origins) +
                      " of them");
    }
    if (use_ == DataUse::tokens && !fields.has("dataset")) {
      fields.fail("dataset", "tokens are made from a dataset");
    }
    if (is_entry) {
      config.weight = fields.number_or("weight", 1e-9, 1e9, 1);
    }
    if (fields.has("mixture")) {
      read_mixture(fields, inherited, config);
    } else {
      if (fields.has("dataset")) read_dataset(fields, config);
      if (use_ == DataUse::windows) {
        read_windows(fields, inherited, config);
      } else {
        config.documents.length = fields.integer_or("length", 2, kMostTokens, 0);
      }
      config.documents.adds_bos = read_bos(fields, config) && config.tokens.empty();
    }
    refuse_unread(fields);
    return config;
  }

 private:
  static void read_holdout(JsonFields& fields, Inherited& inherited) {
    inherited.holdout = fields.number_or("holdout", 0, 1e15, inherited.holdout);
    if (inherited.holdout >= 1 &&
        inherited.holdout != static_cast<double>(static_cast<int64_t>(inherited.holdout))) {
      fields.fail("holdout", "wanted a whole number of records, or a share below 1");
    }
    inherited.holdout_windows =
        fields.integer_or("holdout_windows", 0, kLargest, inherited.holdout_windows);
    inherited.split_seed = fields.integer_or("split_seed", 0, kLargest, inherited.split_seed);
  }

  void read_mixture(JsonFields& fields, Inherited inherited, DataConfig& config) const {
    inherited.length = fields.integer_or("length", 2, kMostTokens, inherited.length);
    read_holdout(fields, inherited);
    const Json& entries = *fields.value("mixture");
    if (!entries.is_array() || entries.empty()) {
      fields.fail("mixture", "wanted an array of at least one, found " + describe_json(entries));
    }
    for (size_t i = 0; i < entries.size(); ++i) {
      JsonPlace place = fields.place();
      place.path = fields.path_of("mixture") + "[" + std::to_string(i) + "]";
      // A seed of its own, so that two entries of one dataset are not the same.
      const ConfigReader entry(Random(seed_, i).next(), use_);
      config.mixture.push_back(entry.read(JsonFields(entries[i], place), inherited, true));
    }
  }

  void read_dataset(JsonFields& fields, DataConfig& config) const {
    config.dataset = fields.text("dataset");
    if (const Json* params = fields.value("params")) {
      if (!params->is_object()) {
        fields.fail("params", "wanted an object, found " + describe_json(*params));
      }
      config.params = *params;
    }
    const auto given = fields.maybe_integer("seed", 0, kLargest);
    config.seed = given ? static_cast<uint64_t>(*given) : seed_;
    config.documents.adds_eos = fields.boolean_or("eos", false);
    config.documents.system = fields.text_or("system", config.documents.system);
    if (use_ == DataUse::windows) {
      config.max_memory =
          static_cast<size_t>(fields.integer_or("max_memory", 0, kLargest, kDefaultMemory));
    }
  }

  static void read_windows(JsonFields& fields, Inherited inherited, DataConfig& config) {
    if (fields.has("tokens")) config.tokens = fields.text("tokens");
    WindowOptions& windows = config.windows;
    windows.length = inherited.length > 0 && !fields.has("length")
                         ? inherited.length
                         : fields.integer("length", 2, kMostTokens);
    windows.overlap = fields.integer_or("overlap", 0, kMostTokens, 0);
    windows.pack = fields.boolean_or("pack", false);
    windows.shuffle = fields.boolean_or("shuffle", true);
    read_holdout(fields, inherited);
    config.holdout = inherited.holdout;
    config.holdout_windows = inherited.holdout_windows;
    config.split_seed = static_cast<uint64_t>(inherited.split_seed);
    config.documents.length = windows.length;
  }

  /// Whether documents begin with it.
  bool read_bos(JsonFields& fields, DataConfig& config) const {
    const bool from_file = !config.tokens.empty();
    const std::string bos = fields.text_or("bos", from_file ? "none" : "document");
    const bool known = bos == "none" || (bos == "document" && !from_file) ||
                       (bos == "window" && use_ == DataUse::windows);
    if (!known) {
      fields.fail(
          "bos", from_file ? "wanted window or none (documents of a file have theirs), found " + bos
                 : use_ == DataUse::windows ? "wanted document, window or none, found " + bos
                                            : "wanted document or none, found " + bos);
    }
    if (bos == "window") config.windows.bos_id = 0;
    const int64_t room = config.windows.length - (bos == "window" ? 1 : 0);
    if (use_ == DataUse::windows && config.windows.overlap >= room) {
      fields.fail("overlap", "wanted less than the " + std::to_string(room) +
                                 " tokens of a window, found " +
                                 std::to_string(config.windows.overlap));
    }
    return bos == "document";
  }

  uint64_t seed_;
  DataUse use_;
};

}  // namespace

DataConfig read_data_config(const Json& json, uint64_t seed, DataUse use, const std::string& file,
                            const std::string& path) {
  return ConfigReader(seed, use).read(JsonFields(json, {"data", file, path}), {}, false);
}

}  // namespace okapi
