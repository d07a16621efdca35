// Conversations as tokens, in Vicuna's chat template, version 1.1:
//
//   SYSTEM USER: u1 ASSISTANT: a1</s>USER: u2 ASSISTANT: a2</s>...
//
// with one blank after SYSTEM, after each "USER:", before and after each "ASSISTANT:", and none
// after
// </s>, which is the end-of-sequence token itself. Only the assistant's text and the token that
// ends it are learned.
//
// Training masks are those of FastChat's preprocess(), built token by token instead of by encoding
// again what stands before an answer; where the tokens of prompt and answer do not merge (no
// sentencepiece model merges ":" with the blank of " Hello") the two are equal, and a test holds
// them so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/data/token_document.h"

namespace okapi {

class Tokenizer;

struct ChatOptions {
  /// Before the first turn; Vicuna's own by default.
  std::string system;
  bool adds_bos = true;
  int64_t length = 0;  ///< most tokens of a document; 0: no limit
};

extern const char* const kVicunaSystem;

/// What the user says, and the answer.
struct ChatRound {
  std::string user;
  std::string assistant;
};

/// `turns` is the field of OKAPI_RECORD_CONVERSATION. Turns that do not come user first and then by
/// turns are an error (a dataset repairs them). A round of which either side is empty is left out,
/// and so is a last turn of the user, which nothing answers.
std::vector<ChatRound> chat_rounds(const Json& turns);

/// One document or, where they do not fit into `length`, several: each begins with the system text
/// and a user's turn, and takes as many whole rounds as fit. A round that is too long for a
/// document of its own is cut off at the right. Documents in which nothing is learned are left out.
std::vector<TokenDocument> chat_documents(const Tokenizer& tokenizer, const ChatOptions& options,
                                          const std::vector<ChatRound>& rounds);

}  // namespace okapi
