// Documents in JSON lines, as RedPajama's: {"text": "...", "meta": {...}}.

#include <optional>

#include <nlohmann/json.hpp>

#include <okapi/plugin/dataset.hpp>

#include "plugins/datasets/corpus/corpus.h"

static constexpr okapi::Param kParams[] = {
    corpus::kPathParam,
    corpus::kSuffixParam,
    {"field", "text", "the field of a line's object that is the document"},
    corpus::kMinCharactersParam,
    corpus::kMaxCharactersParam,
    corpus::kSpoolParam,
};

namespace {

using Json = nlohmann::json;

/// The document of one line. Throws naming the place.
std::string document_of(std::string_view line, const std::string& field, const std::string& place) {
  Json object;
  try {
    object = Json::parse(line);
  } catch (const Json::exception& error) {
    corpus::fail_piece(place, std::string("wanted a JSON object: ") + error.what());
  }
  if (!object.is_object()) {
    corpus::fail_piece(place, "wanted a JSON object, found " + std::string(object.type_name()));
  }
  const auto found = object.find(field);
  if (found == object.end()) corpus::fail_piece(place, field + ": is missing");
  if (!found->is_string()) {
    corpus::fail_piece(place, field + ": wanted text, found " + std::string(found->type_name()));
  }
  return found->get<std::string>();
}

}  // namespace

class JsonlDataset {
 public:
  JsonlDataset(const okapi::Params& params, uint64_t, okapi::Host)
      : field_(params.text("field")),
        corpus_(corpus::files_of(params), corpus::Split::lines,
                [this, filter = corpus::CharacterFilter(params)](const corpus::Found& found) {
                  return filter.keeps(document_of(found.text, field_, found.place));
                }) {}

  int64_t count() const { return corpus_.count(); }

  okapi::Record record(int64_t index) const {
    const std::string place = corpus_.place(index);
    return okapi::Record(OKAPI_RECORD_TEXT)
        .text("text", document_of(corpus_.text(index), field_, place))
        .text("source", place);
  }

 private:
  std::string field_;
  corpus::Corpus corpus_;
};

OKAPI_DATASET_PLUGIN("jsonl", "documents in JSON lines, as RedPajama's", JsonlDataset,
                     .params = kParams)
