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

// session:generate(prompt [, {max_tokens=, temperature=, ...}]) -> {ids=, text=, stop=}
int session_generate(lua_State* L) {
  okapi_session* session = object_at<okapi_session>(L, 1);
  const std::vector<int32_t> prompt =
      lua_isnoneornil(L, 2) ? std::vector<int32_t>{} : prompt_at(L, 2);
  const Options given(L, 3, "generate",
                      {"max_tokens", "min_tokens", "temperature", "top_k", "top_p", "seed", "stop",
                       "stop_ids", "ignore_eos", "on_token", "cancel"});
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  constexpr int64_t kDefaultMaxTokens = 256;  // what the C API takes for 0
  options.max_tokens = given.integer("max_tokens").value_or(kDefaultMaxTokens);
  if (options.max_tokens < 1) throw api::invalid("max_tokens: must be at least 1", "max_tokens");
  options.min_tokens = given.integer("min_tokens").value_or(0);
  options.temperature = static_cast<float>(given.number("temperature").value_or(0));
  options.top_k = given.integer("top_k").value_or(0);
  options.top_p = static_cast<float>(given.number("top_p").value_or(0));
  options.seed = static_cast<uint64_t>(given.integer("seed").value_or(0));
  options.ignore_eos = given.boolean("ignore_eos", false) ? 1 : 0;

  std::vector<std::string> stop_texts;
  if (const int slot = given.slot("stop")) stop_texts = texts_at(L, slot, "stop");
  std::vector<const char*> stop_pointers;
  stop_pointers.reserve(stop_texts.size());
  for (const std::string& text : stop_texts) stop_pointers.push_back(text.c_str());
  options.stop_texts = stop_pointers.data();
  options.n_stop_texts = stop_pointers.size();
  std::vector<int32_t> stop_ids;
  if (const int slot = given.slot("stop_ids")) stop_ids = ids_at(L, slot, "stop_ids");
  options.stop_ids = stop_ids.data();
  options.n_stop_ids = stop_ids.size();

  LongCall long_call(L, 0, cancel_option(L, given.slot("cancel")));
  TokenListener listener{&long_call, given.function("on_token"), {}};
  options.on_token = on_token;
  options.on_token_user_data = &listener;
  options.cancel = long_call.cancel();

  std::vector<int32_t> ids(static_cast<size_t>(options.max_tokens));
  size_t n_ids = 0;
  int32_t stop_reason = OKAPI_STOP_NONE;
  long_call.run([&] {
    api::call(okapi_session_generate, session, prompt.data(), static_cast<int64_t>(prompt.size()),
              &options, ids.data(), ids.size(), &n_ids, &stop_reason);
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

}  // namespace okapi::lua
