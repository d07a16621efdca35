// Random words, to try the dataset contract on.

#include <okapi/plugin/dataset.hpp>

static constexpr okapi::Param kParams[] = {
    {"n_words", 5, "words per record", okapi::at_least(1)},
    {"n_records", 10, "-1: endless", okapi::at_least(-1)},
    {"fault", okapi::choice("none", "none|nan|utf8|twice|throw"), "what is wrong with records"},
};

namespace {

class Words {
 public:
  Words(const okapi::Params& params, uint64_t seed, okapi::Host host)
      : params_(params), seed_(seed), host_(host) {}

  int64_t count() const { return params_.integer("n_records"); }

  okapi::Record record(int64_t index) const {
    okapi::Random random = host_.random(seed_, static_cast<uint64_t>(index));
    std::string text;
    for (int64_t i = 0; i < params_.integer("n_words"); ++i) {
      text += (i > 0 ? " w" : "w") + std::to_string(random.uniform_int(0, 999));
    }
    const std::string& fault = params_.text("fault");
    okapi::Record record(OKAPI_RECORD_TEXT);
    record.text("text", fault == "utf8" ? "caf\xe9" : text);
    record.number("share", fault == "nan" ? std::nan("") : random.uniform());
    record.json("list", "[1, \"two\"]");
    if (fault == "twice") record.number("share", 1);
    if (fault == "throw") throw std::runtime_error("lost the words");
    return record;
  }

 private:
  okapi::Params params_;
  uint64_t seed_;
  okapi::Host host_;
};

}  // namespace

OKAPI_DATASET_PLUGIN("words", "random words", Words, .params = kParams)
