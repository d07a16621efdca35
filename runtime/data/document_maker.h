// Records of datasets as documents of tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/data/chat.h"
#include "runtime/data/token_document.h"
#include "runtime/plugin_host/records.h"

namespace okapi {

class Tokenizer;

struct DocumentOptions {
  bool adds_bos = true;   ///< before each document
  bool adds_eos = false;  ///< after each text; a chat's answers always end with it
  std::string system = kVicunaSystem;
  int64_t length = 0;  ///< chats are split to so many tokens; 0: never
};

class DocumentMaker {
 public:
  /// Throws failed_precondition when the tokenizer lacks a token that the options want.
  DocumentMaker(std::shared_ptr<const Tokenizer> tokenizer, DocumentOptions options);

  /// A text (OKAPI_RECORD_TEXT) is one document, learned whole or, if it has the field, where
  /// `learned` says; a conversation one or more. None when nothing of it is learned. Throws
  /// invalid_argument on records of other kinds, and on fields that break the rules of
  /// <okapi/plugin/dataset.h>.
  std::vector<TokenDocument> documents(const RecordData& record) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const DocumentOptions& options() const { return options_; }

  /// The options and the tokenizer: what besides the records decides the tokens.
  Json describe() const;

 private:
  TokenDocument text_document(const RecordData& record) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  DocumentOptions options_;
};

}  // namespace okapi
