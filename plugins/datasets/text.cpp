// Text in files: each file a document, or each line.

#include <okapi/plugin/dataset.hpp>

#include "plugins/datasets/corpus/corpus.h"

static constexpr okapi::Param kParams[] = {
    corpus::kPathParam,
    corpus::kSuffixParam,
    {"document", okapi::choice("file", "file|line"), "what a document is"},
    corpus::kMinCharactersParam,
    corpus::kMaxCharactersParam,
    corpus::kSpoolParam,
};

class TextDataset {
 public:
  TextDataset(const okapi::Params& params, uint64_t, okapi::Host)
      : corpus_(corpus::files_of(params),
                params.text("document") == "line" ? corpus::Split::lines : corpus::Split::files,
                [filter = corpus::CharacterFilter(params)](const corpus::Found& found) {
                  return filter.keeps(found.text);
                }) {}

  int64_t count() const { return corpus_.count(); }

  okapi::Record record(int64_t index) const {
    return okapi::Record(OKAPI_RECORD_TEXT)
        .text("text", corpus_.text(index))
        .text("source", corpus_.place(index));
  }

 private:
  corpus::Corpus corpus_;
};

OKAPI_DATASET_PLUGIN("text", "text files, plain or packed with gzip or Zstandard", TextDataset,
                     .params = kParams)
