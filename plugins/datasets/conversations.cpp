// Conversations as ShareGPT and Vicuna have them: {"id": ..., "conversations": [{"from": "human",
// "value": "..."}, {"from": "gpt", "value": "..."}]}, in a JSON array or in JSON lines.
//
// Roles are repaired as LongChat does it: a first turn that is not the user's is dropped, then
// every turn that breaks the strict change of user and assistant.

#include <optional>

#include <nlohmann/json.hpp>

#include <okapi/plugin/dataset.hpp>

#include "plugins/datasets/corpus/corpus.h"

static constexpr okapi::Param kParams[] = {
    corpus::kPathParam,
    corpus::kSuffixParam,
    {"roles", okapi::choice("repair", "repair|strict"),
     "leave out turns that break the change of user and assistant, or refuse them"},
    {"min_turns", 2, "conversations of fewer turns are left out", okapi::at_least(1)},
    corpus::kSpoolParam,
};

namespace {

using Json = nlohmann::ordered_json;

enum class Role { user, assistant, other };

Role role_named(const std::string& name) {
  if (name == "human" || name == "user") return Role::user;
  if (name == "gpt" || name == "assistant" || name == "chatgpt") return Role::assistant;
  return Role::other;
}

const Json& field_of(const Json& object, const char* name, const std::string& place) {
  const auto found = object.find(name);
  if (found == object.end()) corpus::fail_piece(place, std::string(name) + ": is missing");
  return *found;
}

std::string text_of(const Json& object, const char* name, const std::string& place) {
  const Json& value = field_of(object, name, place);
  if (!value.is_string()) {
    corpus::fail_piece(place, std::string(name) + ": wanted text, found " + value.type_name());
  }
  return value.get<std::string>();
}

struct Conversation {
  std::optional<std::string> id;
  Json turns = Json::array();  ///< {role, text}, user first, then by turns
};

Conversation conversation_of(std::string_view text, bool repairs, const std::string& place) {
  Json object;
  try {
    object = Json::parse(text);
  } catch (const Json::exception& error) {
    corpus::fail_piece(place, std::string("wanted a JSON object: ") + error.what());
  }
  if (!object.is_object()) {
    corpus::fail_piece(place, "wanted a JSON object, found " + std::string(object.type_name()));
  }
  const Json& given = field_of(object, "conversations", place);
  if (!given.is_array()) {
    corpus::fail_piece(place,
                       "conversations: wanted an array, found " + std::string(given.type_name()));
  }

  Conversation conversation;
  if (object.contains("id") && object["id"].is_string()) conversation.id = object["id"];
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string turn_place = place + ": conversations[" + std::to_string(i) + "]";
    if (!given[i].is_object()) corpus::fail_piece(turn_place, "wanted an object");
    const std::string name = text_of(given[i], "from", turn_place);
    std::string value = text_of(given[i], "value", turn_place);
    const Role wanted = conversation.turns.size() % 2 == 0 ? Role::user : Role::assistant;
    if (role_named(name) == wanted) {
      conversation.turns.push_back(
          {{"role", wanted == Role::user ? "user" : "assistant"}, {"text", std::move(value)}});
    } else if (!repairs) {
      corpus::fail_piece(turn_place, std::string("from: wanted ") +
                                         (wanted == Role::user ? "human" : "gpt") + ", found '" +
                                         name + "'");
    }
  }
  return conversation;
}

}  // namespace

class ConversationsDataset {
 public:
  ConversationsDataset(const okapi::Params& params, uint64_t, okapi::Host)
      : repairs_(params.text("roles") == "repair"),
        corpus_(corpus::files_of(params), corpus::Split::json,
                [this, min_turns = params.integer("min_turns")](const corpus::Found& found) {
                  const auto turns = conversation_of(found.text, repairs_, found.place).turns;
                  return static_cast<int64_t>(turns.size()) >= min_turns;
                }) {}

  int64_t count() const { return corpus_.count(); }

  okapi::Record record(int64_t index) const {
    const std::string place = corpus_.place(index);
    const Conversation conversation = conversation_of(corpus_.text(index), repairs_, place);
    okapi::Record record(OKAPI_RECORD_CONVERSATION);
    record.json("turns", conversation.turns.dump()).text("source", place);
    if (conversation.id) record.text("id", *conversation.id);
    return record;
  }

 private:
  bool repairs_;
  corpus::Corpus corpus_;
};

OKAPI_DATASET_PLUGIN("conversations", "chats as ShareGPT and Vicuna have them",
                     ConversationsDataset, .params = kParams)
