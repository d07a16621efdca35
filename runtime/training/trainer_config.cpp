#include "runtime/training/trainer_config.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/model/lora_targets.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

constexpr int64_t kMostInteger = int64_t{1} << 48;
constexpr double kMostNumber = 1e12;

/// JsonFields::finish() with a suggestion: configurations are written by hand.
void refuse_unread(const JsonFields& fields) {
  const std::vector<std::string> unread = fields.unread();
  if (unread.empty()) return;
  fields.fail(unread.front(), "unknown key" + did_you_mean(unread.front(), fields.known()) +
                                  " (known here: " + join_names(fields.known()) + ")");
}

/// "; did you mean optimizer.clip?": where a key of the whole stands that is one of a section.
std::string did_you_mean_within(const std::string& key, const Json& whole) {
  std::string places;
  for (const auto& [section, value] : whole.items()) {
    if (!value.is_object() || !value.contains(key)) continue;
    places.append(places.empty() ? "" : " or ").append(section).append(".").append(key);
  }
  return places.empty() ? "" : "; did you mean " + places + "?";
}

/// Before anything is read: a mistyped section would otherwise be one that is missing.
void refuse_unknown_sections(const JsonFields& fields) {
  const Json whole = TrainerConfig().json();
  std::vector<std::string> known = {"epochs", "steps"};
  for (const auto& item : whole.items()) known.push_back(item.key());
  std::sort(known.begin(), known.end());
  for (const std::string& key : fields.unread()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string within = did_you_mean_within(key, whole);
    fields.fail(key, "unknown key" + (within.empty() ? did_you_mean(key, known) : within) +
                         " (known here: " + join_names(known) + ")");
  }
}

/// A text out of a list of words.
std::string word(JsonFields& fields, const std::string& key, const std::vector<std::string>& words,
                 const std::string& absent) {
  std::string text = fields.text_or(key, absent);
  if (std::find(words.begin(), words.end(), text) == words.end()) {
    fields.fail(key, "wanted one of " + join_names(words) + ", found \"" + text + "\"");
  }
  return text;
}

template <typename Read>
void read_object(JsonFields& fields, const std::string& key, Read&& read) {
  JsonFields inner = fields.object(key);
  read(inner);
  refuse_unread(inner);
}

/// The same for one that may be absent.
template <typename Read>
void maybe_read_object(JsonFields& fields, const std::string& key, Read&& read) {
  if (fields.has(key)) {
    read_object(fields, key, read);
  } else {
    fields.ignore(key);
  }
}

/// One text, or an array of them.
std::vector<std::string> one_or_more(JsonFields& fields, const std::string& key) {
  const Json* value = fields.value(key);
  if (value == nullptr) return {};
  std::vector<std::string> texts =
      value->is_string() ? std::vector{value->get<std::string>()} : fields.texts(key);
  if (texts.empty()) fields.fail(key, "wanted at least one name, found none");
  return texts;
}

/// Calls `read` for each object of an array that may be absent.
template <typename Read>
void read_list(JsonFields& fields, const std::string& key, Read&& read) {
  const Json* list = fields.value(key);
  if (list == nullptr) return;
  if (!list->is_array()) fields.fail(key, "wanted an array, found " + describe_json(*list));
  for (size_t i = 0; i < list->size(); ++i) {
    const JsonPlace place{fields.place().component, fields.place().file,
                          fields.path_of(key) + "[" + std::to_string(i) + "]"};
    JsonFields inner((*list)[i], place);
    read(inner);
    refuse_unread(inner);
  }
}

DType dtype_named(const std::string& name) { return name == "bf16" ? DType::bf16 : DType::f32; }

std::vector<std::pair<int64_t, double>> read_steps(JsonFields& fields, const std::string& key) {
  const Json* list = fields.value(key);
  std::vector<std::pair<int64_t, double>> steps;
  const auto fail = [&](const std::string& found) {
    fields.fail(key, "wanted [step, value] pairs with ascending steps, found " + found);
  };
  if (!list->is_array() || list->empty()) fail(describe_json(*list));
  for (const Json& pair : *list) {
    const bool is_pair = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() &&
                         pair[0].get<int64_t>() >= 0 && pair[1].is_number();
    if (!is_pair) fail(describe_json(pair));
    const auto step = pair[0].get<int64_t>();
    if (!steps.empty() && step <= steps.back().first) fail(describe_json(pair));
    steps.emplace_back(step, pair[1].get<double>());
  }
  return steps;
}

RopeScheduleConfig read_rope_schedule(JsonFields& fields) {
  RopeScheduleConfig schedule;
  schedule.scheme = fields.text("scheme");
  schedule.parameter = fields.text("parameter");
  if (fields.has("at")) {
    schedule.at = read_steps(fields, "at");
    for (const char* key : {"from", "to", "by", "every"}) {
      if (fields.has(key)) fields.fail(key, "contradicts at beside it");
    }
    return schedule;
  }
  schedule.from = fields.number("from", -kMostNumber, kMostNumber);
  schedule.to = fields.number("to", -kMostNumber, kMostNumber);
  schedule.by = fields.number("by", std::numeric_limits<double>::min(), kMostNumber);
  schedule.every = fields.integer_or("every", 1, kMostInteger, 1);
  fields.ignore("at");
  return schedule;
}

void read_init(JsonFields& fields, TrainerConfig& config) {
  const Json* init = fields.value("init");
  if (init == nullptr || *init == "checkpoint") return;
  config.random_init.emplace();
  if (*init == "random") return;
  if (!init->is_object()) {
    fields.fail("init", R"(wanted "checkpoint", "random" or {"random": {...}}, found )" +
                            describe_json(*init));
  }
  JsonFields kind = fields.object("init");
  maybe_read_object(kind, "random", [&](JsonFields& random) {
    config.random_init->deviation = random.maybe_number("deviation", 0, 1e3);
    config.random_init->scale_residual = random.boolean_or("scale_residual", false);
  });
  refuse_unread(kind);
}

LoraConfig read_lora(JsonFields& fields) {
  LoraConfig lora;
  lora.from = fields.text_or("from", "");
  if (!lora.from.empty()) {
    for (const char* key : {"rank", "alpha", "targets"}) {
      if (fields.has(key)) fields.fail(key, "the adapter of `from` says it; leave one of them out");
    }
  }
  lora.rank = fields.integer_or("rank", 1, 1 << 16, lora.rank);
  lora.alpha = fields.number_or("alpha", 0, kMostNumber, lora.alpha);
  lora.dropout = fields.number_or("dropout", 0, 0.999, lora.dropout);
  lora.targets = one_or_more(fields, "targets");
  if (lora.targets.empty()) lora.targets = lora_target_names();
  for (const std::string& target : lora.targets) {
    const std::vector<std::string>& known = lora_target_names();
    if (std::find(known.begin(), known.end(), target) == known.end()) {
      fields.fail("targets", "wanted some of " + join_names(known) + ", found \"" + target + "\"");
    }
  }
  std::vector<std::string> sorted = lora.targets;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) fields.fail("targets", "\"" + *twice + "\" is there twice");
  return lora;
}

ParameterGroupConfig read_group(JsonFields& fields) {
  ParameterGroupConfig group;
  group.match = one_or_more(fields, "match");
  if (group.match.empty()) fields.fail("match", "wanted names of parameters, found nothing");
  group.learning_rate_factor = fields.number_or("learning_rate_factor", 0, kMostNumber, 1);
  group.weight_decay = fields.maybe_number("weight_decay", 0, kMostNumber);
  return group;
}

OptimizerConfig read_optimizer(JsonFields& fields) {
  OptimizerConfig adamw;
  adamw.learning_rate = fields.number("learning_rate", 0, kMostNumber);
  adamw.beta1 = fields.number_or("beta1", 0, 1 - 1e-9, adamw.beta1);
  adamw.beta2 = fields.number_or("beta2", 0, 1 - 1e-12, adamw.beta2);
  adamw.epsilon = fields.number_or("epsilon", 1e-30, 1, adamw.epsilon);
  adamw.weight_decay = fields.number_or("weight_decay", 0, kMostNumber, adamw.weight_decay);
  adamw.decay_vectors = fields.boolean_or("decay_vectors", adamw.decay_vectors);
  adamw.clip = fields.number_or("clip", 0, kMostNumber, adamw.clip);
  return adamw;
}

BatchConfig read_batch(JsonFields& fields) {
  BatchConfig batch;
  batch.sequences = fields.integer_or("sequences", 1, 1 << 30, 0);
  batch.tokens = fields.integer_or("tokens", 1, kMostInteger, 0);
  if ((batch.sequences > 0) == (batch.tokens > 0)) {
    fields.fail("sequences", "wanted either sequences or tokens, found " +
                                 std::string(batch.tokens > 0 ? "both" : "neither"));
  }
  batch.micro = fields.integer_or("micro", 0, 1 << 30, 0);
  batch.length = fields.integer_or("length", 0, kMostInteger, 0);
  return batch;
}

void read_steps_or_epochs(JsonFields& fields, TrainerConfig& config) {
  config.steps = fields.integer_or("steps", 1, kMostInteger, 0);
  config.epochs = fields.number_or("epochs", 1e-9, 1e9, 0);
  if ((config.steps > 0) == (config.epochs > 0)) {
    fields.fail("steps", "wanted either steps or epochs, found " +
                             std::string(config.epochs > 0 ? "both" : "neither"));
  }
}

RopeTrainingConfig read_rope(JsonFields& fields) {
  RopeTrainingConfig rope;
  rope.train = fields.text_or("train", "");
  rope.eval = fields.text_or("eval", "");
  rope.length = fields.integer_or("length", 0, kMostInteger, 0);
  read_list(fields, "schedule",
            [&](JsonFields& entry) { rope.schedule.push_back(read_rope_schedule(entry)); });
  return rope;
}

ScheduleConfig read_schedule(JsonFields& fields) {
  ScheduleConfig schedule;
  const std::string kind = word(fields, "kind", {"constant", "linear", "cosine"}, "constant");
  schedule.kind = kind == "linear"   ? ScheduleKind::linear
                  : kind == "cosine" ? ScheduleKind::cosine
                                     : ScheduleKind::constant;
  schedule.warmup = fields.integer_or("warmup", 0, kMostInteger, 0);
  schedule.floor = fields.number_or("floor", 0, 1, 0);
  return schedule;
}

EvaluationConfig read_evaluation(JsonFields& fields) {
  EvaluationConfig evaluation;
  evaluation.every = fields.integer_or("every", 0, kMostInteger, 0);
  evaluation.windows = fields.integer_or("windows", 0, kMostInteger, 0);
  evaluation.bucket = fields.integer_or("bucket", 1, kMostInteger, evaluation.bucket);
  if (const Json* data = fields.value("data")) evaluation.data = *data;
  return evaluation;
}

DivergenceConfig read_divergence(JsonFields& fields) {
  DivergenceConfig divergence;
  divergence.nats = fields.number_or("nats", 0, kMostNumber, divergence.nats);
  divergence.steps = fields.integer_or("steps", 1, 1 << 20, divergence.steps);
  return divergence;
}

CheckpointConfig read_checkpoint(JsonFields& fields) {
  CheckpointConfig checkpoint;
  checkpoint.folder = fields.text_or("folder", "");
  checkpoint.every = fields.integer_or("every", 0, kMostInteger, 0);
  checkpoint.keep = fields.integer_or("keep", 0, kMostInteger, checkpoint.keep);
  checkpoint.keep_best = fields.boolean_or("keep_best", checkpoint.keep_best);
  checkpoint.dtype = dtype_named(word(fields, "dtype", {"f32", "bf16"}, "f32"));
  if (checkpoint.every > 0 && checkpoint.folder.empty()) {
    fields.fail("every", "there is no folder to save to");
  }
  return checkpoint;
}

/// None for "auto".
std::optional<DType> read_dtype_or_auto(JsonFields& fields, const std::string& key) {
  const std::string name = word(fields, key, {"auto", "f32", "bf16"}, "auto");
  return name == "auto" ? std::nullopt : std::optional(dtype_named(name));
}

std::optional<bool> read_recompute(JsonFields& fields) {
  const Json* value = fields.value("recompute");
  if (value == nullptr || *value == "auto") return std::nullopt;
  if (!value->is_boolean()) {
    fields.fail("recompute", "wanted true, false or \"auto\", found " + describe_json(*value));
  }
  return value->get<bool>();
}

}  // namespace

Error bad_config(const std::string& field, const std::string& problem) {
  return Error(Code::invalid_argument, field + ": " + problem).in("training").field(field);
}

const char* name_of(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::constant:
      return "constant";
    case ScheduleKind::linear:
      return "linear";
    case ScheduleKind::cosine:
      return "cosine";
  }
  throw Error(Code::internal, "a schedule without a name");
}

const char* dtype_name(DType dtype) { return dtype == DType::bf16 ? "bf16" : "f32"; }

TrainerConfig TrainerConfig::from_json(const Json& json, const std::string& file) {
  TrainerConfig config;
  JsonFields fields(json, {"training", file});
  refuse_unknown_sections(fields);
  config.model = fields.text("model");
  read_init(fields, config);
  config.seed =
      static_cast<uint64_t>(fields.integer_or("seed", 0, std::numeric_limits<int64_t>::max(), 0));
  read_steps_or_epochs(fields, config);

  maybe_read_object(fields, "rope", [&](JsonFields& inner) { config.rope = read_rope(inner); });
  maybe_read_object(fields, "lora", [&](JsonFields& inner) { config.lora = read_lora(inner); });
  maybe_read_object(fields, "parameters", [&](JsonFields& inner) {
    config.trained = one_or_more(inner, "train");
    read_list(inner, "groups",
              [&](JsonFields& entry) { config.groups.push_back(read_group(entry)); });
  });
  if (config.trained.empty()) config.trained = {config.lora ? "lora" : "all"};

  read_object(fields, "optimizer",
              [&](JsonFields& inner) { config.optimizer = read_optimizer(inner); });
  maybe_read_object(fields, "schedule",
                    [&](JsonFields& inner) { config.schedule = read_schedule(inner); });
  read_object(fields, "batch", [&](JsonFields& inner) { config.batch = read_batch(inner); });

  if (const Json* data = fields.value("data")) config.data = *data;
  config.recompute = read_recompute(fields);
  config.compute_dtype = read_dtype_or_auto(fields, "compute_dtype");
  config.deterministic = fields.boolean_or("deterministic", true);
  config.base_dtype = read_dtype_or_auto(fields, "base_dtype");
  const std::string layout =
      word(fields, "pair_layout", {"half_split", "interleaved"}, "half_split");
  if (layout == "interleaved") config.pair_layout = PairLayout::interleaved;

  maybe_read_object(fields, "checkpoint",
                    [&](JsonFields& inner) { config.checkpoint = read_checkpoint(inner); });
  maybe_read_object(fields, "evaluation",
                    [&](JsonFields& inner) { config.evaluation = read_evaluation(inner); });
  maybe_read_object(fields, "divergence",
                    [&](JsonFields& inner) { config.divergence = read_divergence(inner); });
  config.results = fields.text_or("results", "");
  refuse_unread(fields);
  return config;
}

namespace {

Json rope_json(const RopeTrainingConfig& rope) {
  Json schedule = Json::array();
  for (const RopeScheduleConfig& entry : rope.schedule) {
    Json item = {{"scheme", entry.scheme}, {"parameter", entry.parameter}};
    if (entry.at.empty()) {
      item.update({{"from", entry.from}, {"to", entry.to}, {"by", entry.by}});
      item["every"] = entry.every;
    } else {
      item["at"] = entry.at;
    }
    schedule.push_back(std::move(item));
  }
  return {{"train", rope.train},
          {"eval", rope.eval},
          {"length", rope.length},
          {"schedule", std::move(schedule)}};
}

Json init_json(const std::optional<RandomInitConfig>& random) {
  if (!random) return "checkpoint";
  Json options = {{"scale_residual", random->scale_residual}};
  if (random->deviation) options["deviation"] = *random->deviation;
  return {{"random", std::move(options)}};
}

Json lora_json(const std::optional<LoraConfig>& lora) {
  if (!lora) return nullptr;
  Json json = {{"dropout", lora->dropout}};
  if (!lora->from.empty()) {
    json["from"] = lora->from;
  } else {
    json.update({{"rank", lora->rank}, {"alpha", lora->alpha}, {"targets", lora->targets}});
  }
  return json;
}

Json groups_json(const std::vector<ParameterGroupConfig>& groups) {
  Json list = Json::array();
  for (const ParameterGroupConfig& group : groups) {
    Json item = {{"match", group.match}, {"learning_rate_factor", group.learning_rate_factor}};
    if (group.weight_decay) item["weight_decay"] = *group.weight_decay;
    list.push_back(std::move(item));
  }
  return list;
}

}  // namespace

Json TrainerConfig::json() const {
  Json json = {
      {"model", model},
      {"init", init_json(random_init)},
      {"seed", seed},
      {"rope", rope_json(rope)},
      {"parameters", {{"train", trained}, {"groups", groups_json(groups)}}},
      {"lora", lora_json(lora)},
      {"optimizer",
       {{"learning_rate", optimizer.learning_rate},
        {"beta1", optimizer.beta1},
        {"beta2", optimizer.beta2},
        {"epsilon", optimizer.epsilon},
        {"weight_decay", optimizer.weight_decay},
        {"decay_vectors", optimizer.decay_vectors},
        {"clip", optimizer.clip}}},
      {"schedule",
       {{"kind", okapi::name_of(schedule.kind)},
        {"warmup", schedule.warmup},
        {"floor", schedule.floor}}},
      {"data", data},
      {"recompute", recompute ? Json(*recompute) : Json("auto")},
      {"pair_layout", pair_layout == PairLayout::half_split ? "half_split" : "interleaved"},
      {"compute_dtype", compute_dtype ? dtype_name(*compute_dtype) : "auto"},
      {"deterministic", deterministic},
      {"base_dtype", base_dtype ? dtype_name(*base_dtype) : "auto"},
      {"checkpoint",
       {{"folder", checkpoint.folder},
        {"every", checkpoint.every},
        {"keep", checkpoint.keep},
        {"keep_best", checkpoint.keep_best},
        {"dtype", dtype_name(checkpoint.dtype)}}},
      {"evaluation",
       {{"every", evaluation.every},
        {"windows", evaluation.windows},
        {"bucket", evaluation.bucket},
        {"data", evaluation.data}}},
      {"divergence", {{"nats", divergence.nats}, {"steps", divergence.steps}}},
      {"results", results},
  };
  Json& batch_json = json["batch"] = {{"micro", batch.micro}, {"length", batch.length}};
  batch_json[batch.tokens > 0 ? "tokens" : "sequences"] =
      batch.tokens > 0 ? batch.tokens : batch.sequences;
  if (steps > 0) json["steps"] = steps;
  if (epochs > 0) json["epochs"] = epochs;
  return json;
}

Json TrainerConfig::identity() const {
  Json all = json();
  // A schedule that falls is a function of the number of steps; a constant one is not.
  if (schedule.kind == ScheduleKind::constant) {
    all.erase("steps");
    all.erase("epochs");
  }
  // Where and how often something is written, and how work is cut up, changes no number. (How many
  // windows are computed at once changes the order of additions alone.)
  for (const char* key : {"checkpoint", "evaluation", "results", "recompute", "divergence"}) {
    all.erase(key);
  }
  all["batch"].erase("micro");
  all.erase("model");  // known by its hash, wherever it lies
  return all;
}

}  // namespace okapi
