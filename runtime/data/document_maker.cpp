#include "runtime/data/document_maker.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

[[noreturn]] void fail(const std::string& field, const std::string& problem) {
  throw Error(Code::invalid_argument, field + ": " + problem).in("data").field(field);
}

const RecordField* find(const RecordData& record, std::string_view name) {
  for (const RecordField& field : record.fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

const RecordField& get(const RecordData& record, const char* name, int32_t type) {
  const RecordField* field = find(record, name);
  if (field == nullptr) fail(name, "the " + record.kind + " record has no such field");
  if (field->type != type) fail(name, "the " + record.kind + " record has it in another type");
  return *field;
}

struct ByteRange {
  size_t begin;
  size_t end;
};

std::vector<ByteRange> learned_ranges(const RecordField& field, const std::string& text) {
  const Json json = parse_json(field.text, {"data", "", "learned"});
  const auto is_border = [&](uint64_t at) {
    return at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
  };
  if (!json.is_array()) fail("learned", "wanted an array, found " + describe_json(json));
  std::vector<ByteRange> ranges;
  size_t last = 0;
  for (const Json& item : json) {
    const bool is_pair = item.is_array() && item.size() == 2 && item[0].is_number_unsigned() &&
                         item[1].is_number_unsigned();
    const uint64_t begin = is_pair ? item[0].get<uint64_t>() : 0;
    const uint64_t end = is_pair ? item[1].get<uint64_t>() : 0;
    if (!is_pair || begin < last || end <= begin || end > text.size() || !is_border(begin) ||
        !is_border(end)) {
      fail("learned", "wanted ascending [begin, end) within " + std::to_string(text.size()) +
                          " bytes of UTF-8, found " + item.dump());
    }
    ranges.push_back({begin, end});
    last = end;
  }
  return ranges;
}

}  // namespace

DocumentMaker::DocumentMaker(std::shared_ptr<const Tokenizer> tokenizer, DocumentOptions options)
    : tokenizer_(std::move(tokenizer)), options_(std::move(options)) {
  const auto need = [&](bool wants, int32_t id, const char* field, const char* name) {
    if (!wants || id >= 0) return;
    throw Error(Code::failed_precondition,
                std::string(field) + ": the tokenizer has no " + name + " token")
        .in("data")
        .field(field)
        .at(tokenizer_->path());
  };
  need(options_.adds_bos, tokenizer_->bos_id(), "bos", "beginning-of-sequence");
  need(options_.adds_eos, tokenizer_->eos_id(), "eos", "end-of-sequence");
}

TokenDocument DocumentMaker::text_document(const RecordData& record) const {
  const std::string& text = get(record, "text", OKAPI_FIELD_TEXT).text;
  TokenDocument document;
  if (options_.adds_bos) document.append_one(tokenizer_->bos_id(), false);
  const RecordField* learned = find(record, "learned");
  if (learned == nullptr) {
    document.append(encode_text(*tokenizer_, text), true);
    if (options_.adds_eos) document.append_one(tokenizer_->eos_id(), true);
    return document;
  }

  // Border by border, so that what is learned begins where a model begins to answer.
  size_t done = 0;
  const auto append_until = [&](size_t end, bool is_learned) {
    if (end == done) return;
    const std::string_view all(text);
    const std::string_view piece = all.substr(done, end - done);
    document.append(done == 0 ? encode_text(*tokenizer_, piece)
                              : encode_continuation(*tokenizer_, all.substr(0, done), piece),
                    is_learned);
    done = end;
  };
  for (const ByteRange& range : learned_ranges(get(record, "learned", OKAPI_FIELD_JSON), text)) {
    append_until(range.begin, false);
    append_until(range.end, true);
  }
  append_until(text.size(), false);
  if (options_.adds_eos) document.append_one(tokenizer_->eos_id(), false);
  return document;
}

std::vector<TokenDocument> DocumentMaker::documents(const RecordData& record) const {
  if (record.kind == OKAPI_RECORD_CONVERSATION) {
    const ChatOptions options{options_.system, options_.adds_bos, options_.length};
    const Json turns = get(record, "turns", OKAPI_FIELD_JSON).json();
    return chat_documents(*tokenizer_, options, chat_rounds(turns));
  }
  if (record.kind != OKAPI_RECORD_TEXT) {
    throw Error(Code::invalid_argument,
                "wanted a dataset of text or conversations, found '" + record.kind +
                    "' records (of lines, documents to learn from are made with training=true)")
        .in("data")
        .field("dataset");
  }
  TokenDocument document = text_document(record);
  if (document.learned.empty()) return {};
  std::vector<TokenDocument> documents;
  documents.push_back(std::move(document));
  return documents;
}

Json DocumentMaker::describe() const {
  Json json = {
      {"bos", options_.adds_bos},
      {"eos", options_.adds_eos},
      {"tokenizer", {{"sha256", tokenizer_->sha256()}, {"vocab_size", tokenizer_->vocab_size()}}}};
  json["chat"] = {
      {"template", "vicuna_v1.1"}, {"system", options_.system}, {"length", options_.length}};
  return json;
}

}  // namespace okapi
