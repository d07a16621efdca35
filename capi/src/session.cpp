#include "runtime/generation/session.h"

#include <okapi/session.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "capi/src/cancel_object.h"
#include "capi/src/field_ends.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/poison.h"
#include "capi/src/text_out.h"
#include "runtime/model/model.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

struct okapi_session : okapi::capi::Handle {
  explicit okapi_session(std::shared_ptr<okapi::Session> made) : session(std::move(made)) {}
  std::shared_ptr<okapi::Session> session;
  Poison poison;
};

namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int64_t>::max();

okapi::SessionOptions engine_options(const okapi_session_options& given) {
  check_boolean(given.raw_keys, "options.raw_keys");
  check_boolean(given.deterministic, "options.deterministic");
  check_reserved(given.reserved, "options.reserved");
  check_range(given.rope_length, OKAPI_ROPE_LENGTH_FOLLOW, kMaxTokens, "options.rope_length");
  check_range(given.context_length, 0, kMaxTokens, "options.context_length");
  check_range(given.prefill_chunk, 0, kMaxTokens, "options.prefill_chunk");
  require_array(given.positions, given.n_positions, "options.positions");

  okapi::SessionOptions options;
  if (given.rope != nullptr) options.rope = given.rope->rope;
  options.rope_length = given.rope_length;
  options.context_length = given.context_length;
  options.prefill_chunk = given.prefill_chunk;
  options.raw_keys = given.raw_keys == 1;
  options.deterministic = given.deterministic == 1;
  if (given.n_positions > 0)
    options.positions.assign(given.positions, given.positions + given.n_positions);
  options.seed = given.seed;
  options.adapter = adapter_of(given.adapter);
  return options;
}

okapi::GenerateOptions engine_options(const okapi_generate_options& given) {
  check_boolean(given.ignore_eos, "options.ignore_eos");
  check_reserved(given.reserved, "options.reserved");
  check_range(given.max_tokens, 0, kMaxTokens, "options.max_tokens");
  check_range(given.min_tokens, 0, kMaxTokens, "options.min_tokens");
  check_range(given.top_k, 0, kMaxTokens, "options.top_k");
  require_array(given.stop_ids, given.n_stop_ids, "options.stop_ids");
  require_array(given.stop_texts, given.n_stop_texts, "options.stop_texts");

  okapi::GenerateOptions options;
  options.temperature = given.temperature;
  if (given.max_tokens > 0) options.max_tokens = given.max_tokens;
  options.min_tokens = given.min_tokens;
  options.top_k = given.top_k;
  if (given.top_p != 0) options.top_p = given.top_p;
  options.ignore_eos = given.ignore_eos == 1;
  options.seed = given.seed;
  if (given.n_stop_ids > 0)
    options.stop_ids.assign(given.stop_ids, given.stop_ids + given.n_stop_ids);
  for (uint64_t i = 0; i < given.n_stop_texts; ++i) {
    const std::string name = "options.stop_texts[" + std::to_string(i) + "]";
    options.stop_texts.emplace_back(require(given.stop_texts[i], name.c_str()));
  }
  if (given.on_token != nullptr) {
    options.on_token = [on_token = given.on_token, user_data = given.on_token_user_data](
                           int32_t id, std::string_view text) {
      return on_token(id, text.empty() ? "" : text.data(), text.size(), user_data) == 0;
    };
  }
  if (given.cancel != nullptr) options.cancel = given.cancel->token.get();
  return options;
}

std::span<const int32_t> token_span(const int32_t* tokens, int64_t n_tokens, int64_t least,
                                    const std::string& name = "tokens") {
  check_range(n_tokens, least, kMaxTokens, ("n_" + name).c_str());
  require_array(tokens, static_cast<uint64_t>(n_tokens), name.c_str());
  return {tokens, static_cast<size_t>(n_tokens)};
}

std::string element(const std::string& array, uint64_t i) {
  std::string name = array;
  name.append("[").append(std::to_string(i)).append("]");
  return name;
}

/// Several sessions, each with its tokens, as a call is given them.
class Batch {
 public:
  /// `name` is that of the array of tokens, of which each session has at least `least`.
  Batch(okapi_session* const* given, uint64_t n_sessions, const int32_t* const* given_tokens,
        const int64_t* n_tokens, int64_t least, const std::string& name)
      : given_(given, check_arrays(given, n_sessions, given_tokens, n_tokens, name)) {
    for (uint64_t i = 0; i < n_sessions; ++i) {
      require(given[i], element("sessions", i).c_str())->poison.check();
      sessions.push_back(given[i]->session.get());
      tokens.push_back(token_span(given_tokens[i], n_tokens[i], least, element(name, i)));
    }
  }

  /// Calls body(), which changes the sessions.
  template <typename Body>
  void change(const Body& body) const {
    try {
      body();
    } catch (...) {
      for (okapi_session* const session : given_) session->poison.remember_caught();
      throw;
    }
  }

  std::vector<okapi::Session*> sessions;
  std::vector<std::span<const int32_t>> tokens;

 private:
  static size_t check_arrays(okapi_session* const* sessions, uint64_t n_sessions,
                             const int32_t* const* tokens, const int64_t* n_tokens,
                             const std::string& name) {
    if (n_sessions == 0) refuse("n_sessions", "must be at least 1");
    require_array(sessions, n_sessions, "sessions");
    require_array(tokens, n_sessions, name.c_str());
    require_array(n_tokens, n_sessions, ("n_" + name).c_str());
    return static_cast<size_t>(n_sessions);
  }

  std::span<okapi_session* const> given_;
};

/// The engine's session, unless an earlier failure has spoilt it.
okapi::Session& healthy(const okapi_session* session) {
  require(session, "session")->poison.check();
  return *session->session;
}

void feed(okapi_session* session, std::span<const int32_t> tokens, const float** logits) {
  session->poison.change([&] { session->session->prefill(tokens, logits != nullptr); });
  if (logits != nullptr) *logits = session->session->logits().data();
}

void check_room_for_ids(size_t capacity, const okapi::GenerateOptions& options) {
  if (capacity >= static_cast<uint64_t>(options.max_tokens)) return;
  throw okapi::Error(okapi::Code::out_of_range, "ids needs room for max_tokens (" +
                                                    std::to_string(options.max_tokens) +
                                                    "), and has it for " + std::to_string(capacity))
      .field("capacity");
}

/// Hands out what was generated when the call ends, however it ends.
class IdsOut {
 public:
  IdsOut(const okapi::Generation& generation, int32_t* ids, size_t* n_ids, int32_t* stop_reason)
      : generation_(generation), ids_(ids), n_ids_(n_ids), stop_reason_(stop_reason) {}
  IdsOut(const IdsOut&) = delete;
  IdsOut& operator=(const IdsOut&) = delete;
  ~IdsOut() {
    std::copy(generation_.ids.begin(), generation_.ids.end(), ids_);
    *n_ids_ = generation_.ids.size();
    if (stop_reason_ != nullptr) *stop_reason_ = static_cast<int32_t>(generation_.stop_reason);
  }

 private:
  const okapi::Generation& generation_;
  int32_t* ids_;
  size_t* n_ids_;
  int32_t* stop_reason_;
};

static_assert(static_cast<int32_t>(okapi::StopReason::none) == OKAPI_STOP_NONE);
static_assert(static_cast<int32_t>(okapi::StopReason::length) == OKAPI_STOP_LENGTH);
static_assert(static_cast<int32_t>(okapi::StopReason::eos) == OKAPI_STOP_EOS);
static_assert(static_cast<int32_t>(okapi::StopReason::text) == OKAPI_STOP_TEXT);
static_assert(static_cast<int32_t>(okapi::StopReason::id) == OKAPI_STOP_ID);
static_assert(static_cast<int32_t>(okapi::StopReason::callback) == OKAPI_STOP_CALLBACK);
static_assert(okapi::kRopeLengthAuto == OKAPI_ROPE_LENGTH_AUTO);
static_assert(okapi::kRopeLengthFollow == OKAPI_ROPE_LENGTH_FOLLOW);

}  // namespace

okapi_status okapi_session_create(okapi_model* model, const okapi_session_options* options,
                                  okapi_session** session, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(session, "session");
    require(model, "model");
    const auto given = read_struct(options, "options", "OKAPI_SESSION_OPTIONS_INIT");
    *session = new okapi_session(okapi::Session::create(model->model, engine_options(given)));
  });
}

okapi_session* okapi_session_ref(okapi_session* session) { return ref(__func__, session); }

void okapi_session_unref(okapi_session* session) { unref(__func__, session); }

okapi_status okapi_session_prefill(okapi_session* session, const int32_t* tokens, int64_t n_tokens,
                                   const float** logits, okapi_error** error) {
  return guard(__func__, error, [&] {
    if (logits != nullptr) *logits = nullptr;
    require(session, "session");
    feed(session, token_span(tokens, n_tokens, 1), logits);
  });
}

okapi_status okapi_session_decode(okapi_session* session, int32_t token, const float** logits,
                                  okapi_error** error) {
  return guard(__func__, error, [&] {
    if (logits != nullptr) *logits = nullptr;
    feed(require(session, "session"), {&token, 1}, logits);
  });
}

okapi_status okapi_session_advance_batch(okapi_session* const* sessions, uint64_t n_sessions,
                                         const int32_t* const* tokens, const int64_t* n_tokens,
                                         const float** logits, okapi_error** error) {
  return guard(__func__, error, [&] {
    for (uint64_t i = 0; logits != nullptr && i < n_sessions; ++i) logits[i] = nullptr;
    const Batch batch(sessions, n_sessions, tokens, n_tokens, 1, "tokens");
    batch.change(
        [&] { okapi::Session::advance_batch(batch.sessions, batch.tokens, logits != nullptr); });
    if (logits == nullptr) return;
    for (uint64_t i = 0; i < n_sessions; ++i) logits[i] = batch.sessions[i]->logits().data();
  });
}

okapi_status okapi_session_score(okapi_session* session, const int32_t* tokens, int64_t n_tokens,
                                 float* nll, float* logits, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(session, "session");
    const auto fed = token_span(tokens, n_tokens, 1);
    const auto vocab_size = static_cast<size_t>(session->session->model()->config().vocab_size);
    const std::span<float> nll_out =
        nll != nullptr ? std::span(nll, fed.size()) : std::span<float>();
    const std::span<float> logits_out =
        logits != nullptr ? std::span(logits, fed.size() * vocab_size) : std::span<float>();
    session->poison.change([&] { session->session->score(fed, nll_out, logits_out); });
  });
}

okapi_status okapi_session_generate(okapi_session* session, const int32_t* prompt, int64_t n_prompt,
                                    const okapi_generate_options* options, int32_t* ids,
                                    size_t capacity, size_t* n_ids, int32_t* stop_reason,
                                    okapi_error** error) {
  return guard(__func__, error, [&] {
    if (stop_reason != nullptr) *stop_reason = OKAPI_STOP_NONE;
    *require(n_ids, "n_ids") = 0;
    require(session, "session");
    const auto fed = token_span(prompt, n_prompt, 0, "prompt");
    const auto given = read_struct(options, "options", "OKAPI_GENERATE_OPTIONS_INIT");
    const okapi::GenerateOptions chosen = engine_options(given);
    require_array(ids, capacity, "ids");
    check_room_for_ids(capacity, chosen);

    okapi::Generation generation;
    const IdsOut out(generation, ids, n_ids, stop_reason);
    session->poison.change([&] { session->session->generate(fed, chosen, &generation); });
  });
}

okapi_status okapi_session_generate_batch(okapi_session* const* sessions, uint64_t n_sessions,
                                          const int32_t* const* prompts, const int64_t* n_prompts,
                                          const okapi_generate_options* options,
                                          int32_t* const* ids, size_t capacity, size_t* n_ids,
                                          int32_t* stop_reasons, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_array(ids, n_sessions, "ids");
    require_array(n_ids, n_sessions, "n_ids");
    for (uint64_t i = 0; i < n_sessions; ++i) {
      n_ids[i] = 0;
      if (stop_reasons != nullptr) stop_reasons[i] = OKAPI_STOP_NONE;
    }
    const Batch batch(sessions, n_sessions, prompts, n_prompts, 0, "prompts");
    const auto given = read_struct(options, "options", "OKAPI_GENERATE_OPTIONS_INIT");
    if (given.on_token != nullptr) {
      refuse("options.on_token", "cannot tell sessions apart: wanted NULL");
    }
    const okapi::GenerateOptions chosen = engine_options(given);
    check_room_for_ids(capacity, chosen);
    for (uint64_t i = 0; i < n_sessions; ++i) {
      require_array(ids[i], capacity, element("ids", i).c_str());
    }

    std::vector<okapi::Generation> generations(n_sessions);
    std::vector<std::unique_ptr<const IdsOut>> out;
    for (uint64_t i = 0; i < n_sessions; ++i) {
      out.push_back(std::make_unique<const IdsOut>(
          generations[i], ids[i], &n_ids[i], stop_reasons != nullptr ? &stop_reasons[i] : nullptr));
    }
    batch.change(
        [&] { okapi::Session::generate_batch(batch.sessions, batch.tokens, chosen, generations); });
  });
}

okapi_status okapi_session_set_cancel(okapi_session* session, okapi_cancel* cancel,
                                      okapi_error** error) {
  return guard(__func__, error,
               [&] { require(session, "session")->session->set_cancel(token_of(cancel)); });
}

int64_t okapi_session_n_tokens(const okapi_session* session) {
  return guard_value(__func__, int64_t{0},
                     [&] { return session != nullptr ? session->session->n_tokens() : 0; });
}

okapi_status okapi_session_tokens(const okapi_session* session, int32_t* tokens, size_t capacity,
                                  size_t* n_tokens, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_array(healthy(session).tokens(), "tokens", tokens, capacity, n_tokens);
  });
}

okapi_status okapi_session_truncate(okapi_session* session, int64_t n_tokens, okapi_error** error) {
  return guard(__func__, error, [&] {
    require(session, "session");
    check_range(n_tokens, 0, kMaxTokens, "n_tokens");
    session->poison.change([&] { session->session->truncate(n_tokens); });
  });
}

okapi_status okapi_session_fork(okapi_session* session, okapi_session** fork, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(fork, "fork");
    *fork = new okapi_session(healthy(session).fork());
  });
}

okapi_status okapi_session_save(okapi_session* session, const char* path, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_path(path, "path");
    healthy(session).save(path);
  });
}

okapi_status okapi_session_restore(okapi_model* model, const char* path, okapi_session** session,
                                   okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(session, "session");
    require(model, "model");
    require_path(path, "path");
    *session = new okapi_session(okapi::Session::restore(model->model, path));
  });
}

okapi_status okapi_session_restore_with(okapi_model* model, const char* path,
                                        const okapi_restore_options* options,
                                        okapi_session** session, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(session, "session");
    require(model, "model");
    require_path(path, "path");
    const auto given = read_struct(options, "options", "OKAPI_RESTORE_OPTIONS_INIT");
    check_reserved(given.reserved, "options.reserved");
    *session =
        new okapi_session(okapi::Session::restore(model->model, path, adapter_of(given.adapter)));
  });
}

okapi_status okapi_session_describe(const okapi_session* session, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error,
               [&] { copy_json(healthy(session).describe(), buffer, capacity, needed); });
}
