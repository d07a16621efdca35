// okapi.delta.make{...}, .check{...}, .apply{...}: a tuned model as its difference from its base.
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/long_call.h"
#include "capi/lua/runtime.h"

namespace okapi::lua {

/// The options that all three take, as C has them, for as long as this lives.
class DeltaCall {
 public:
  DeltaCall(lua_State* L, const Options& given)
      : long_call_(L, given.function("progress"), cancel_option(L, given.slot("cancel"))) {
    options_.progress = LongCall::on_progress;
    options_.progress_user_data = &long_call_;
    options_.cancel = long_call_.cancel();
  }

  void set_dtype(const std::optional<std::string>& dtype) {
    if (dtype) options_.dtype = dtype_option(*dtype);
  }

  /// Runs body(options), which makes the call.
  template <class Body>
  void run(Body&& body) {
    long_call_.run([&] { body(&options_); });
  }

 private:
  LongCall long_call_;
  okapi_delta_options options_ = OKAPI_DELTA_OPTIONS_INIT;
};

static int delta_make(lua_State* L) {
  const Options given(L, 1, "delta.make", {"base", "tuned", "out", "dtype", "progress", "cancel"});
  const std::string base = given.required_text("base");
  const std::string tuned = given.required_text("tuned");
  const std::string out = given.required_text("out");
  DeltaCall call(L, given);
  call.set_dtype(given.text("dtype"));
  call.run([&](const okapi_delta_options* options) {
    api::call(okapi_delta_make, base.c_str(), tuned.c_str(), out.c_str(), options);
  });
  return 0;
}

// -> what the delta says of itself; an error if it belongs to another base
static int delta_check(lua_State* L) {
  const Options given(L, 1, "delta.check", {"base", "delta", "progress", "cancel"});
  const std::string base = given.required_text("base");
  const std::string delta = given.required_text("delta");
  DeltaCall call(L, given);
  std::string about;
  call.run([&](const okapi_delta_options* options) {
    about = api::text(okapi_delta_check, base.c_str(), delta.c_str(), options);
  });
  push_json_text(L, about);
  return 1;
}

static int delta_apply(lua_State* L) {
  const Options given(L, 1, "delta.apply", {"base", "delta", "out", "dtype", "progress", "cancel"});
  const std::string base = given.required_text("base");
  const std::string delta = given.required_text("delta");
  const std::string out = given.required_text("out");
  DeltaCall call(L, given);
  call.set_dtype(given.text("dtype"));
  call.run([&](const okapi_delta_options* options) {
    api::call(okapi_delta_apply, base.c_str(), delta.c_str(), out.c_str(), options);
  });
  return 0;
}

void open_delta(lua_State* L) {
  const luaL_Reg functions[] = {{"apply", entry<delta_apply>},
                                {"check", entry<delta_check>},
                                {"make", entry<delta_make>},
                                {nullptr, nullptr}};
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "delta");
}

}  // namespace okapi::lua
