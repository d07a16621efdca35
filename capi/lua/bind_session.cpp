// model:session{...}: one sequence under one position scheme.
#include <limits>

#include "capi/lua/adapter.h"
#include "capi/lua/arguments.h"
#include "capi/lua/array.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/generate.h"
#include "capi/lua/ids.h"
#include "capi/lua/json_value.h"
#include "capi/lua/long_call.h"
#include "capi/lua/rope.h"
#include "capi/lua/tokens.h"

namespace okapi::lua {

using api::invalid;

int model_session(lua_State* L) {
  okapi_model* model = object_at<okapi_model>(L, 1);
  const Options given(L, 2, "session",
                      {"rope", "rope_length", "positions", "seed", "raw_keys", "context_length",
                       "prefill_chunk", "adapter", "deterministic"});
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  const Handle<okapi_rope> rope = rope_option(L, given.slot("rope"), model);
  options.rope = rope.get();
  const Handle<okapi_adapter> adapter = adapter_option(L, given.slot("adapter"), model);
  options.adapter = adapter.get();
  options.rope_length = rope_length_option(L, given.slot("rope_length"));
  options.raw_keys = given.boolean("raw_keys", false) ? 1 : 0;
  options.deterministic = given.boolean("deterministic", false) ? 1 : 0;
  options.context_length = given.integer("context_length").value_or(0);
  options.prefill_chunk = given.integer("prefill_chunk").value_or(0);
  options.seed = static_cast<uint64_t>(given.integer("seed").value_or(0));
  std::vector<double> positions;
  if (const int slot = given.slot("positions")) positions = numbers_at(L, slot, "positions");
  options.positions = positions.empty() ? nullptr : positions.data();
  options.n_positions = positions.size();
  push_box(L, api::make<okapi_session>(okapi_session_create, model, &options), 1);
  return 1;
}

// model:restore(path [, {adapter=}]) -> session
int model_restore(lua_State* L) {
  okapi_model* model = object_at<okapi_model>(L, 1);
  const std::string path = text_at(L, 2, "path");
  const Options given(L, 3, "restore", {"adapter"});
  const Handle<okapi_adapter> adapter = adapter_option(L, given.slot("adapter"), model);
  okapi_restore_options options = OKAPI_RESTORE_OPTIONS_INIT;
  options.adapter = adapter.get();
  push_box(L, api::make<okapi_session>(okapi_session_restore_with, model, path.c_str(), &options),
           1);
  return 1;
}

okapi_model* model_of_session(lua_State* L, int index) {
  need_stack(L, 1);
  lua_getiuservalue(L, index, 1);
  // The box may have been closed by the script; the session still holds the model itself.
  auto* box = static_cast<Box<okapi_model>*>(userdata_of(L, -1, &BoxKind<okapi_model>::kKey));
  lua_pop(L, 1);
  if (box == nullptr || box->object == nullptr) {
    throw Failure(OKAPI_FAILED_PRECONDITION,
                  "the session's model is closed: only ids can be given");
  }
  return box->object;
}

int64_t vocab_size_of(const okapi_model* model) {
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  api::call(okapi_model_get_info, model, &info);
  return info.vocab_size;
}

std::vector<int32_t> prompt_at(lua_State* L, int index, int session) {
  if (lua_type(L, index) != LUA_TSTRING) return ids_at(L, index, "tokens");
  const okapi_model* model = model_of_session(L, session);
  const std::string text = text_at(L, index, "text");
  const auto tokenizer = api::make<okapi_tokenizer>(okapi_model_get_tokenizer, model);
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  api::call(okapi_model_get_info, model, &info);
  const bool is_start = okapi_session_n_tokens(object_at<okapi_session>(L, session)) == 0;
  return api::encode(tokenizer.get(), text, is_start && info.bos_id >= 0);
}

/// Lets Ctrl-C reach calls that take no cancel token of their own.
class CancellableSession {
 public:
  CancellableSession(okapi_session* session, const LongCall& call) : session_(session) {
    api::call(okapi_session_set_cancel, session_, call.cancel());
  }
  ~CancellableSession() { okapi_session_set_cancel(session_, nullptr, nullptr); }
  CancellableSession(const CancellableSession&) = delete;
  CancellableSession& operator=(const CancellableSession&) = delete;

 private:
  okapi_session* session_;
};

// session:prefill(ids or text) -> logits of the next token
static int session_prefill(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  const std::vector<int32_t> tokens = prompt_at(L, 2);
  const int64_t vocab_size = vocab_size_of(model_of_session(L, 1));
  const float* logits = nullptr;
  LongCall long_call(L, 0, nullptr);
  const CancellableSession cancellable(session, long_call);
  api::call(okapi_session_prefill, session, tokens.data(), static_cast<int64_t>(tokens.size()),
            &logits);
  push_f32(L, logits, vocab_size);
  return 1;
}

static int session_decode(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  const int64_t id = integer_at(L, 2, "id");
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) throw invalid("id: not a token id", "id");
  const int64_t vocab_size = vocab_size_of(model_of_session(L, 1));
  const float* logits = nullptr;
  api::call(okapi_session_decode, session, static_cast<int32_t>(id), &logits);
  push_f32(L, logits, vocab_size);
  return 1;
}

// session:score(ids or text [, {logits=true}]) -> nll [, logits with rows]
static int session_score(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  const std::vector<int32_t> tokens = prompt_at(L, 2);
  const Options given(L, 3, "score", {"logits"});
  const bool wants_logits = given.boolean("logits", false);
  const auto n_tokens = static_cast<int64_t>(tokens.size());
  Array* nll = push_array(L, Element::f32, n_tokens, n_tokens);
  Array* logits = nullptr;
  if (wants_logits) {
    const int64_t vocab_size = vocab_size_of(model_of_session(L, 1));
    logits = push_array(L, Element::f32, n_tokens * vocab_size, vocab_size);
  }
  LongCall long_call(L, 0, nullptr);
  const CancellableSession cancellable(session, long_call);
  api::call(okapi_session_score, session, tokens.data(), n_tokens, nll->f32(),
            logits == nullptr ? nullptr : logits->f32());
  return wants_logits ? 2 : 1;
}

static int session_fork(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  Handle<okapi_session> fork = api::make<okapi_session>(okapi_session_fork, session);
  need_stack(L, 1);
  lua_getiuservalue(L, 1, 1);
  push_box(L, std::move(fork), lua_gettop(L));
  return 1;
}

static int session_save(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  const std::string path = text_at(L, 2, "path");
  api::call(okapi_session_save, session, path.c_str());
  return 0;
}

static int session_truncate(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  api::call(okapi_session_truncate, session, integer_at(L, 2, "n_tokens"));
  return 0;
}

static int session_tokens(lua_State* L) {
  const okapi_session* session = object_at<okapi_session>(L, 1);
  std::vector<int32_t> tokens(static_cast<size_t>(okapi_session_n_tokens(session)));
  size_t n_tokens = 0;
  api::call(okapi_session_tokens, session, tokens.data(), tokens.size(), &n_tokens);
  tokens.resize(n_tokens);
  push_ids(L, tokens);
  return 1;
}

static int session_n_tokens(lua_State* L) {
  lua_pushinteger(L, okapi_session_n_tokens(object_at<okapi_session>(L, 1)));
  return 1;
}

static int session_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_session_describe, object_at<okapi_session>(L, 1)));
  return 1;
}

SessionBatch session_batch(lua_State* L, const std::string& caller, bool takes_text) {
  if (lua_type(L, 1) != LUA_TTABLE || lua_type(L, 2) != LUA_TTABLE) {
    throw invalid(caller + ": wanted a table of sessions and a table of their tokens");
  }
  const auto n = static_cast<lua_Integer>(lua_rawlen(L, 1));
  if (n < 1 || n != static_cast<lua_Integer>(lua_rawlen(L, 2))) {
    throw invalid(caller + ": wanted as many lists of tokens as sessions, at least one");
  }
  need_stack(L, 4);
  SessionBatch batch;
  for (lua_Integer i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    batch.sessions.push_back(object_at<okapi_session>(L, -1));
    const int session = lua_gettop(L);
    lua_rawgeti(L, 2, i);
    const bool is_text = takes_text && lua_type(L, -1) == LUA_TSTRING;
    batch.tokens.push_back(is_text ? prompt_at(L, session + 1, session)
                                   : ids_at(L, -1, "tokens[" + std::to_string(i) + "]"));
    lua_pop(L, 2);
  }
  for (const std::vector<int32_t>& ids : batch.tokens) {
    batch.token_pointers.push_back(ids.data());
    batch.n_tokens.push_back(static_cast<int64_t>(ids.size()));
  }
  return batch;
}

// okapi.advance({session...}, {ids...}) -> table of logits: several sessions in one pass
static int advance(lua_State* L) {
  const SessionBatch batch = session_batch(L, "advance", /*takes_text=*/false);
  const auto n = static_cast<int64_t>(batch.sessions.size());
  std::vector<int64_t> vocab_sizes;
  for (int64_t i = 1; i <= n; ++i) {
    lua_rawgeti(L, 1, i);
    vocab_sizes.push_back(vocab_size_of(model_of_session(L, lua_gettop(L))));
    lua_pop(L, 1);
  }
  std::vector<const float*> logits(batch.sessions.size());
  api::call(okapi_session_advance_batch, batch.sessions.data(), static_cast<uint64_t>(n),
            batch.token_pointers.data(), batch.n_tokens.data(), logits.data());
  protect(L, 0, 1, [n](lua_State* inner) {
    lua_createtable(inner, static_cast<int>(n), 0);
    return 1;
  });
  for (int64_t i = 1; i <= n; ++i) {
    const auto at = static_cast<size_t>(i - 1);
    push_f32(L, logits[at], vocab_sizes[at]);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    protect(L, 2, 0, [i](lua_State* inner) {
      lua_rawseti(inner, 1, i);
      return 0;
    });
  }
  return 1;
}

void open_session(lua_State* L) {
  const luaL_Reg methods[] = {{"decode", entry<session_decode>},
                              {"describe", entry<session_describe>},
                              {"fork", entry<session_fork>},
                              {"generate", entry<session_generate>},
                              {"n_tokens", entry<session_n_tokens>},
                              {"prefill", entry<session_prefill>},
                              {"save", entry<session_save>},
                              {"score", entry<session_score>},
                              {"tokens", entry<session_tokens>},
                              {"truncate", entry<session_truncate>},
                              {nullptr, nullptr}};
  define_box<okapi_session>(L, methods);
  lua_pushcfunction(L, entry<advance>);
  lua_setfield(L, -2, "advance");
  lua_pushcfunction(L, entry<generate_batch>);
  lua_setfield(L, -2, "generate");
}

}  // namespace okapi::lua
