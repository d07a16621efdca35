// Repeat a record's text, to try the task contract on.

#include <okapi/plugin/task.hpp>

static constexpr okapi::Param kParams[] = {
    {"n_samples", 4, "items when there are no records", okapi::at_least(1)},
    {"fault", okapi::choice("none", "none|no_parts|metric|flag|key"), "what is wrong"},
};

static constexpr okapi_metric kMetrics[] = {
    {"correct", "the output is the text", OKAPI_AGGREGATE_RATE, 1},
    {"n_bytes", "of the output", OKAPI_AGGREGATE_MEAN, 0},
};

static constexpr const char* kGroups[] = {"length"};

namespace {

class Repeat {
 public:
  Repeat(const okapi::Params& params, uint64_t seed, okapi::Host host, okapi::Records records)
      : params_(params), seed_(seed), host_(host), records_(records) {}

  int64_t count() const { return records_.any() ? records_.count() : params_.integer("n_samples"); }

  okapi::Item item(int64_t index) const {
    const std::string& fault = params_.text("fault");
    const std::string text = records_.any()
                                 ? records_.record(index).text("text")
                                 : std::to_string(host_.random(seed_, uint64_t(index)).next());
    okapi::Item item;
    item.key = fault == "key" ? "same" : std::to_string(index);
    if (fault != "no_parts") {
      item.parts.emplace_back("Repeat: ");
      item.parts.emplace_back(host_.tokenizer()->encode(text, false));
    }
    item.max_new_tokens = host_.tokenizer()->count(text, false);
    item.stop_texts = {"\n"};
    item.stop_ids = {2};
    item.attribute("length", static_cast<double>(text.size())).attribute("text", text);
    item.scoring_data = text;
    return item;
  }

  okapi::Score score(const okapi::ScoredItem& item, const okapi::Output& output) const {
    okapi::Score score;
    score.flag("correct", output.text == item.scoring_data);
    score.number("n_bytes", static_cast<double>(output.text.size()));
    if (params_.text("fault") == "metric") score.number("undeclared", 1);
    if (params_.text("fault") == "flag") score.number("correct", 0.5);
    score.parsed = std::string(output.text.substr(0, 3));
    return score;
  }

 private:
  okapi::Params params_;
  uint64_t seed_;
  okapi::Host host_;
  okapi::Records records_;
};

}  // namespace

OKAPI_TASK_PLUGIN("repeat", "repeat a text", Repeat, .version = "3", .metrics = kMetrics,
                  .group_by = kGroups, .default_dataset = "words", .params = kParams)
