#include "capi/lua/generate.h"

#include "capi/lua/arguments.h"
#include "capi/lua/box.h"
#include "capi/lua/ids.h"
#include "capi/lua/long_call.h"

namespace okapi::lua {

struct TokenListener {
  LongCall* call;
  int function;  ///< stack index, or 0
  std::string text;
};

static int32_t on_token(int32_t id, const char* text, size_t n_bytes, void* user_data) {
  auto& listener = *static_cast<TokenListener*>(user_data);
  try {
    listener.text.append(text == nullptr ? "" : text, n_bytes);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return listener.call->call_on_token(listener.function, id, text, n_bytes) ? 0 : 1;
}

static const char* stop_name(int32_t reason) {
  switch (reason) {
    case OKAPI_STOP_LENGTH:
      return "length";
    case OKAPI_STOP_EOS:
      return "eos";
    case OKAPI_STOP_ID:
      return "id";
    case OKAPI_STOP_TEXT:
      return "text";
    case OKAPI_STOP_CALLBACK:
      return "callback";
    default:
      return "none";
  }
}

// How tokens are chosen, from a table of options, with all that it points to.
class ChoiceOptions {
 public:
  ChoiceOptions(lua_State* L, const Options& given) {
    constexpr int64_t kDefaultMaxTokens = 256;  // what the C API takes for 0
    c.max_tokens = given.integer("max_tokens").value_or(kDefaultMaxTokens);
    if (c.max_tokens < 1) throw api::invalid("max_tokens: must be at least 1", "max_tokens");
    c.min_tokens = given.integer("min_tokens").value_or(0);
    c.temperature = static_cast<float>(given.number("temperature").value_or(0));
    c.top_k = given.integer("top_k").value_or(0);
    c.top_p = static_cast<float>(given.number("top_p").value_or(0));
    c.seed = static_cast<uint64_t>(given.integer("seed").value_or(0));
    c.ignore_eos = given.boolean("ignore_eos", false) ? 1 : 0;

    if (const int slot = given.slot("stop")) stop_texts_ = texts_at(L, slot, "stop");
    stop_pointers_.reserve(stop_texts_.size());
    for (const std::string& text : stop_texts_) stop_pointers_.push_back(text.c_str());
    c.stop_texts = stop_pointers_.data();
    c.n_stop_texts = stop_pointers_.size();
    if (const int slot = given.slot("stop_ids")) stop_ids_ = ids_at(L, slot, "stop_ids");
    c.stop_ids = stop_ids_.data();
    c.n_stop_ids = stop_ids_.size();
  }
  ChoiceOptions(const ChoiceOptions&) = delete;
  ChoiceOptions& operator=(const ChoiceOptions&) = delete;

  okapi_generate_options c = OKAPI_GENERATE_OPTIONS_INIT;

 private:
  std::vector<std::string> stop_texts_;
  std::vector<const char*> stop_pointers_;
  std::vector<int32_t> stop_ids_;
};

// session:generate(prompt [, {max_tokens=, temperature=, ...}]) -> {ids=, text=, stop=}
int session_generate(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  const std::vector<int32_t> prompt =
      lua_isnoneornil(L, 2) ? std::vector<int32_t>{} : prompt_at(L, 2);
  const Options given(L, 3, "generate",
                      {"max_tokens", "min_tokens", "temperature", "top_k", "top_p", "seed", "stop",
                       "stop_ids", "ignore_eos", "on_token", "cancel"});
  ChoiceOptions options(L, given);
  LongCall long_call(L, 0, cancel_option(L, given.slot("cancel")));
  TokenListener listener{&long_call, given.function("on_token"), {}};
  options.c.on_token = on_token;
  options.c.on_token_user_data = &listener;
  options.c.cancel = long_call.cancel();

  std::vector<int32_t> ids(static_cast<size_t>(options.c.max_tokens));
  size_t n_ids = 0;
  int32_t stop_reason = OKAPI_STOP_NONE;
  long_call.run([&] {
    api::call(okapi_session_generate, session, prompt.data(), static_cast<int64_t>(prompt.size()),
              &options.c, ids.data(), ids.size(), &n_ids, &stop_reason);
  });
  ids.resize(n_ids);
  push_ids(L, ids);
  protect(L, 1, 1, [&listener, stop_reason](lua_State* inner) {
    lua_createtable(inner, 0, 3);
    lua_pushvalue(inner, 1);
    lua_setfield(inner, -2, "ids");
    lua_pushlstring(inner, listener.text.data(), listener.text.size());
    lua_setfield(inner, -2, "text");
    lua_pushstring(inner, stop_name(stop_reason));
    lua_setfield(inner, -2, "stop");
    return 1;
  });
  return 1;
}

// okapi.generate({session...}, {ids or text...} [, {max_tokens=, ...}]) -> {{ids=, stop=}...}
int generate_batch(lua_State* L) {
  const Options given(L, 3, "generate",
                      {"max_tokens", "min_tokens", "temperature", "top_k", "top_p", "seed", "stop",
                       "stop_ids", "ignore_eos", "cancel"});
  ChoiceOptions options(L, given);
  const SessionBatch batch = session_batch(L, "generate", /*takes_text=*/true);
  const size_t n = batch.sessions.size();
  const auto capacity = static_cast<size_t>(options.c.max_tokens);
  std::vector<std::vector<int32_t>> ids(n, std::vector<int32_t>(capacity));
  std::vector<int32_t*> id_pointers;
  for (std::vector<int32_t>& of_one : ids) id_pointers.push_back(of_one.data());
  std::vector<size_t> n_ids(n);
  std::vector<int32_t> stop_reasons(n);
  LongCall long_call(L, 0, cancel_option(L, given.slot("cancel")));
  options.c.cancel = long_call.cancel();
  long_call.run([&] {
    api::call(okapi_session_generate_batch, batch.sessions.data(), static_cast<uint64_t>(n),
              batch.token_pointers.data(), batch.n_tokens.data(), &options.c, id_pointers.data(),
              capacity, n_ids.data(), stop_reasons.data());
  });

  protect(L, 0, 1, [n](lua_State* inner) {
    lua_createtable(inner, static_cast<int>(n), 0);
    return 1;
  });
  for (size_t i = 0; i < n; ++i) {
    ids[i].resize(n_ids[i]);
    lua_pushvalue(L, -1);
    push_ids(L, ids[i]);
    protect(L, 2, 0, [i, reason = stop_reasons[i]](lua_State* inner) {
      lua_createtable(inner, 0, 2);
      lua_pushvalue(inner, 2);
      lua_setfield(inner, -2, "ids");
      lua_pushstring(inner, stop_name(reason));
      lua_setfield(inner, -2, "stop");
      lua_rawseti(inner, 1, static_cast<lua_Integer>(i) + 1);
      return 0;
    });
  }
  return 1;
}

}  // namespace okapi::lua
