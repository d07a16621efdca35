/* One sequence being read and written: a KV cache under one position scheme.
 *
 *   okapi_session* session = NULL;
 *   okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
 *   options.rope = rope;
 *   okapi_session_create(model, &options, &session, &error);
 *   okapi_session_prefill(session, prompt, n_prompt, &logits, &error);
 *   okapi_session_decode(session, next_id, &logits, &error);
 *
 * The law: prefill in any chunks, then decode, gives the same logits as one pass over the whole
 * sequence at the same declared length, to rounding, under every scheme.
 *
 * Declared length: a scheme that depends on length is evaluated at one length per session, so its
 * table stands still while the cache fills. Outgrowing it rebuilds the cache from its token ids
 * under the table of the new length.
 */
#ifndef OKAPI_SESSION_H
#define OKAPI_SESSION_H

#include <okapi/adapter.h>
#include <okapi/rope.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_session okapi_session;

#define OKAPI_ROPE_LENGTH_AUTO 0 /* the ids given at first, or prompt plus tokens to generate */
#define OKAPI_ROPE_LENGTH_FOLLOW (-1) /* the tokens so far, rebuilt at every token */

/// What a session is made of.
///
/// @since 0.1
typedef struct okapi_session_options {
  uint32_t struct_size;
  uint8_t raw_keys;  ///< 1: cache keys unrotated and rotate them as they are read
  /// 1: results are the same to the bit whatever sessions advance in the same batch. A prompt then
  /// has passes of its own, and those of single tokens take as many sessions as one product treats
  /// alike.
  uint8_t deterministic;
  uint8_t reserved[2];
  const okapi_rope* rope;  ///< NULL: what the model's configuration says
  int64_t rope_length;     ///< declared length in tokens, or OKAPI_ROPE_LENGTH_*
  int64_t context_length;  ///< most tokens the session may hold; 0: as memory allows
  int64_t prefill_chunk;   ///< tokens computed at once in a prefill; 0: what suits the backend
  /// f64 [n_positions]: the position of token i instead of i (or of what the scheme says); copied;
  /// tokens past the end are OKAPI_OUT_OF_RANGE.
  const double* positions;
  uint64_t n_positions;
  uint64_t seed;                 ///< for schemes that draw positions
  const okapi_adapter* adapter;  ///< beside the model's weights, opened for this model; NULL: none
} okapi_session_options;

#define OKAPI_SESSION_OPTIONS_INIT                                                              \
  {                                                                                             \
    OKAPI_STRUCT_SIZE(okapi_session_options, adapter), 0, 0, {0, 0}, NULL, 0, 0, 0, NULL, 0, 0, \
        NULL                                                                                    \
  }

/// Makes an empty session.
///
/// @param options       borrowed for the call; NULL for defaults
/// @param[out] session  owned by the caller; holds the model, the rope and the adapter
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT if the rope was read against another geometry, or the
///         adapter opened for another model
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_session_create(okapi_model* model,
                                            const okapi_session_options* options,
                                            okapi_session** session, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_session* okapi_session_ref(okapi_session* session);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_session_unref(okapi_session* session);

/// Feeds prompt tokens to the model and fills the KV cache.
///
/// Positions continue after the tokens already cached, so a long prompt may be fed in chunks
/// and gives the same logits, to rounding, as one call. Follow with okapi_session_decode().
///
/// @param session      session to advance
/// @param tokens       int32 [n_tokens], each in [0, vocab_size); borrowed for the call
/// @param n_tokens     at least 1
/// @param[out] logits  f32 [vocab_size] for the next token, before temperature; may be NULL.
///                     Owned by the session, valid until the next call on it.
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT on an id out of range; OKAPI_OUT_OF_RANGE if the
///         tokens do not fit; OKAPI_CANCELLED. On failure the cache is as it was.
/// @param[out] error   why it failed, owned by the caller; may be NULL.
/// @note [session] One call at a time per session; sessions of one model may run in parallel.
/// @since 0.1
OKAPI_API okapi_status okapi_session_prefill(okapi_session* session, const int32_t* tokens,
                                             int64_t n_tokens, const float** logits,
                                             okapi_error** error);

/// Feeds one token. Otherwise as okapi_session_prefill().
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_decode(okapi_session* session, int32_t token,
                                            const float** logits, okapi_error** error);

/// Advances several sessions of one model in one pass over the weights, each by its own number of
/// tokens. The result of each is, to rounding, what it would be alone.
///
/// @param sessions     [n_sessions], all different, all of one model and with the same
///                     adapter or none; ropes may differ
/// @param tokens       [n_sessions] arrays of int32, the i-th of n_tokens[i] ids
/// @param n_tokens     int64 [n_sessions], each at least 1
/// @param[out] logits  [n_sessions] pointers as in okapi_session_prefill(); may be NULL
/// @return as okapi_session_prefill(); on failure every cache is as it was
/// @note [session] of each
/// @since 0.1
OKAPI_API okapi_status okapi_session_advance_batch(okapi_session* const* sessions,
                                                   uint64_t n_sessions,
                                                   const int32_t* const* tokens,
                                                   const int64_t* n_tokens, const float** logits,
                                                   okapi_error** error);

/// Feeds tokens and tells how well each was predicted.
///
/// @param tokens        int32 [n_tokens]; they continue after those already cached
/// @param[out] nll      f32 [n_tokens]: -log p(token i | tokens before it), nats; NaN for the very
///                      first token of a sequence, which nothing predicts; may be NULL
/// @param[out] logits   f32 [n_tokens, vocab_size]: row i predicts the token after token i; may be
///                      NULL
/// @return as okapi_session_prefill()
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_score(okapi_session* session, const int32_t* tokens,
                                           int64_t n_tokens, float* nll, float* logits,
                                           okapi_error** error);

/// Hears each token as it is generated. `text` [n_bytes] is what it adds to the output, whole UTF-8
/// characters only. [callback] Returns 0 to go on, anything else to stop.
///
/// @since 0.1
typedef int32_t (*okapi_token_callback)(int32_t id, const char* text, size_t n_bytes,
                                        void* user_data);

/* Why generation ended; the numbers are shared with <okapi/plugin/task.h>. */
#define OKAPI_STOP_NONE 0     /* has not ended */
#define OKAPI_STOP_LENGTH 1   /* max_tokens were generated */
#define OKAPI_STOP_EOS 2      /* the model's end of text */
#define OKAPI_STOP_TEXT 3     /* one of stop_texts */
#define OKAPI_STOP_ID 5       /* one of stop_ids */
#define OKAPI_STOP_CALLBACK 6 /* on_token asked for it */

/// How tokens are chosen and when an output ends.
///
/// @since 0.1
typedef struct okapi_generate_options {
  uint32_t struct_size;
  float temperature;   ///< 0: greedy, the lowest id on a tie
  int64_t max_tokens;  ///< 0: 256
  int64_t min_tokens;  ///< no stop rule ends the output before this many; EOS is not chosen
  int64_t top_k;       ///< 0: all
  float top_p;         ///< 0: 1, all
  uint8_t ignore_eos;  ///< 1: EOS is a token like others
  uint8_t reserved[3];
  uint64_t seed;            ///< of the sampler
  const int32_t* stop_ids;  ///< [n_stop_ids]; the id that stops is part of the output
  uint64_t n_stop_ids;
  /// [n_stop_texts]; need a tokenizer; the output ends with the id that completes one.
  const char* const* stop_texts;
  uint64_t n_stop_texts;
  okapi_token_callback on_token;  ///< may be NULL
  void* on_token_user_data;
  okapi_cancel* cancel;  ///< may be NULL
} okapi_generate_options;

#define OKAPI_GENERATE_OPTIONS_INIT                                                             \
  {                                                                                             \
    OKAPI_STRUCT_SIZE(okapi_generate_options, cancel), 0, 0, 0, 0, 0, 0, {0, 0, 0}, 0, NULL, 0, \
        NULL, 0, NULL, NULL, NULL                                                               \
  }

/// Feeds a prompt, then chooses and feeds tokens until a stop rule holds.
///
/// @param prompt            int32 [n_prompt]; may be empty if tokens are cached already
/// @param options           borrowed for the call; NULL for defaults
/// @param[out] ids          int32 [capacity], the tokens generated
/// @param[out] n_ids        how many; never more than max_tokens
/// @param[out] stop_reason  OKAPI_STOP_*; may be NULL
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if capacity is less than max_tokens; OKAPI_CANCELLED;
///         OKAPI_FAILED_PRECONDITION on stop_texts without a tokenizer; otherwise as
///         okapi_session_prefill(). Whatever ends the call, ids and n_ids tell what
///         was generated until then; after a failure the cache is nevertheless as it was
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_generate(okapi_session* session, const int32_t* prompt,
                                              int64_t n_prompt,
                                              const okapi_generate_options* options, int32_t* ids,
                                              size_t capacity, size_t* n_ids, int32_t* stop_reason,
                                              okapi_error** error);

/// Generates after several prompts at once, in passes over the weights that the sessions have in
/// common: the result of each is, to rounding, what okapi_session_generate() would give it alone,
/// with the same options and seed. Tokens are chosen on the device. A session whose output has
/// ended waits for the others.
///
/// @param sessions           [n_sessions], as in okapi_session_advance_batch()
/// @param prompts            [n_sessions] arrays of int32, the i-th of n_prompts[i] ids; one may be
///                           empty if its session has tokens cached already
/// @param n_prompts          int64 [n_sessions]
/// @param options            borrowed for the call; NULL for defaults; on_token must be NULL
/// @param[out] ids           [n_sessions] arrays of int32 [capacity], the tokens generated
/// @param capacity           of each of them, at least max_tokens
/// @param[out] n_ids         [n_sessions], how many
/// @param[out] stop_reasons  [n_sessions], OKAPI_STOP_*; may be NULL
/// @return as okapi_session_generate(); on failure every cache is as it was
/// @note [session] of each
/// @since 0.1
OKAPI_API okapi_status okapi_session_generate_batch(
    okapi_session* const* sessions, uint64_t n_sessions, const int32_t* const* prompts,
    const int64_t* n_prompts, const okapi_generate_options* options, int32_t* const* ids,
    size_t capacity, size_t* n_ids, int32_t* stop_reasons, okapi_error** error);

/// Lets calls on this session be stopped by `cancel`; NULL takes it away. The session holds the
/// token.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_set_cancel(okapi_session* session, okapi_cancel* cancel,
                                                okapi_error** error);

/// Tokens in the cache.
///
/// @note [session]
/// @since 0.1
OKAPI_API int64_t okapi_session_n_tokens(const okapi_session* session);

/// Their ids.
///
/// @param[out] tokens    int32 [capacity]; NULL with capacity 0 asks for the number
/// @param[out] n_tokens  how many there are; may be NULL
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if they do not fit
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_tokens(const okapi_session* session, int32_t* tokens,
                                            size_t capacity, size_t* n_tokens, okapi_error** error);

/// Forgets all but the first `n_tokens`.
///
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if there are fewer
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_truncate(okapi_session* session, int64_t n_tokens,
                                              okapi_error** error);

/// A second session with the same tokens. Cache pages are shared until one of the two writes to
/// them.
///
/// @param[out] fork  owned by the caller
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_fork(okapi_session* session, okapi_session** fork,
                                          okapi_error** error);

/// Writes the cache, its tokens and its scheme to a file: beside it first, then renamed into place.
///
/// The file (safetensors) names the model's hash, the adapter's, the scheme and the plugin
/// versions.
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_save(okapi_session* session, const char* path,
                                          okapi_error** error);

/// Makes a session from a saved file.
///
/// @param[out] session  owned by the caller
/// @return OKAPI_OK; OKAPI_NOT_FOUND also when a scheme's plugin is missing, naming it;
///         OKAPI_DATA_LOSS on a damaged file; OKAPI_FAILED_PRECONDITION if it was made with another
///         model or plugin version, or with an adapter
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_session_restore(okapi_model* model, const char* path,
                                             okapi_session** session, okapi_error** error);

/// What a file does not hold of the session it was made from.
///
/// @since 0.1
typedef struct okapi_restore_options {
  uint32_t struct_size;
  uint8_t reserved[4];
  const okapi_adapter* adapter;  ///< the one the session had; NULL: none
} okapi_restore_options;

#define OKAPI_RESTORE_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_restore_options, adapter), {0, 0, 0, 0}, NULL }

/// okapi_session_restore() for a session that had an adapter: what was cached holds for it alone.
///
/// @param options  borrowed for the call; NULL for defaults
/// @return as okapi_session_restore(); OKAPI_FAILED_PRECONDITION if the file was made with another
///         adapter, or without one; OKAPI_INVALID_ARGUMENT if it was opened for another model
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_session_restore_with(okapi_model* model, const char* path,
                                                  const okapi_restore_options* options,
                                                  okapi_session** session, okapi_error** error);

/// Effective options as a JSON object: rope (canonical), declared length, positions, chunk, tokens
/// held, cache bytes, whether keys are raw, table hash, adapter.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_session_describe(const okapi_session* session, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
