// Text in files: each file a document, or each line, or parts of a file, so that some of a long
// text can be held out.

#include <okapi/plugin/dataset.hpp>

#include "plugins/datasets/corpus/corpus.h"

static constexpr okapi::Param kParams[] = {
    corpus::kPathParam,
    corpus::kSuffixParam,
    {"document", okapi::choice("file", "file|line|part"),
     "what a document is; a part is lines together, until they have part_bytes"},
    {"part_bytes", 20000, "size of a part", okapi::between(1, 1e9)},
    corpus::kMinCharactersParam,
    corpus::kMaxCharactersParam,
    corpus::kSpoolParam,
};

class TextDataset {
 public:
  TextDataset(const okapi::Params& params, uint64_t, okapi::Host)
      : corpus_(files_of(params), split_of(params.text("document")),
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
  static corpus::Split split_of(const std::string& document) {
    if (document == "line") return corpus::Split::lines;
    return document == "part" ? corpus::Split::parts : corpus::Split::files;
  }

  static corpus::Files files_of(const okapi::Params& params) {
    okapi::require(!params.given("part_bytes") || params.text("document") == "part",
                   "is for document=part", "part_bytes");
    corpus::Files files = corpus::files_of(params);
    files.part_bytes = static_cast<size_t>(params.integer("part_bytes"));
    return files;
  }

  corpus::Corpus corpus_;
};

OKAPI_DATASET_PLUGIN("text", "text files, plain or packed with gzip or Zstandard", TextDataset,
                     .params = kParams)
