#include "runtime/data/chat.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

const char* const kVicunaSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";

namespace {

[[noreturn]] void fail(size_t turn, const std::string& problem) {
  throw Error(Code::invalid_argument, "turns[" + std::to_string(turn) + "]: " + problem)
      .in("data")
      .field("turns");
}

struct EncodedRound {
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;  ///< with the token that ends it
  size_t size() const { return prompt.size() + answer.size(); }
};

EncodedRound encode_round(const Tokenizer& tokenizer, const std::string& system,
                          const ChatRound& round) {
  const std::string prompt =
      (system.empty() ? "" : system + " ") + "USER: " + round.user + " ASSISTANT:";
  EncodedRound encoded;
  encoded.prompt = encode_text(tokenizer, prompt);
  encoded.answer = encode_continuation(tokenizer, prompt, " " + round.assistant);
  encoded.answer.push_back(tokenizer.eos_id());
  return encoded;
}

}  // namespace

std::vector<ChatRound> chat_rounds(const Json& turns) {
  if (!turns.is_array()) {
    throw Error(Code::invalid_argument, "turns: wanted an array, found " + describe_json(turns))
        .in("data")
        .field("turns");
  }
  std::vector<ChatRound> rounds;
  for (size_t i = 0; i < turns.size(); ++i) {
    const bool is_user = i % 2 == 0;
    const Json& turn = turns[i];
    if (!turn.is_object() || !turn.contains("role") || !turn.contains("text") ||
        !turn["text"].is_string()) {
      fail(i, "wanted an object with role and text, found " + describe_json(turn));
    }
    const char* wanted = is_user ? "user" : "assistant";
    if (turn["role"] != wanted) {
      fail(i, std::string("role: wanted ") + wanted + ", found " + describe_json(turn["role"]));
    }
    if (is_user) {
      rounds.push_back({turn["text"].get<std::string>(), ""});
    } else {
      rounds.back().assistant = turn["text"].get<std::string>();
    }
  }
  std::erase_if(
      rounds, [](const ChatRound& round) { return round.user.empty() || round.assistant.empty(); });
  return rounds;
}

std::vector<TokenDocument> chat_documents(const Tokenizer& tokenizer, const ChatOptions& options,
                                          const std::vector<ChatRound>& rounds) {
  if (tokenizer.eos_id() < 0) {
    throw Error(Code::failed_precondition,
                "the tokenizer has no end-of-sequence token, which ends every answer of a chat")
        .in("data")
        .at(tokenizer.path());
  }
  const auto limit =
      options.length > 0 ? static_cast<size_t>(options.length) : static_cast<size_t>(-1);
  std::vector<TokenDocument> documents;
  TokenDocument document;
  const auto flush = [&] {
    document.truncate(limit);
    if (!document.learned.empty()) documents.push_back(std::move(document));
    document = {};
  };
  for (const ChatRound& round : rounds) {
    EncodedRound encoded;
    if (!document.ids.empty()) {
      encoded = encode_round(tokenizer, "", round);
      if (document.ids.size() + encoded.size() > limit) flush();
    }
    if (document.ids.empty()) {
      encoded = encode_round(tokenizer, options.system, round);
      if (options.adds_bos) document.append_one(tokenizer.bos_id(), false);
    }
    document.append(encoded.prompt, false);
    document.append(encoded.answer, true);
  }
  flush();
  return documents;
}

}  // namespace okapi
