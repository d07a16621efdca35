/* A client of okapi 0.1, compiled against the headers that are kept in tests/data/abi/okapi-0.1. It
 * must run against today's library. Besides, it plays an older one still, whose structs end
 * earlier, and a newer one, whose structs are longer. */
#include <okapi/okapi.h>
#include <stdio.h>
#include <string.h>

#define CONFIG                                                                                  \
  "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":32,"      \
  "\"intermediate_size\":64,\"num_hidden_layers\":1,\"num_attention_heads\":2,"                 \
  "\"num_key_value_heads\":1,\"head_dim\":16,\"vocab_size\":64,\"max_position_embeddings\":64," \
  "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"bos_token_id\":1,"    \
  "\"eos_token_id\":2,\"tie_word_embeddings\":false}"

static int n_wrong = 0;

static void expect(int is_true, const char* claim, okapi_error* error) {
  if (is_true) return;
  n_wrong++;
  fprintf(stderr, "not so: %s%s%s\n", claim, error != NULL ? ": " : "", okapi_error_message(error));
}

static okapi_status create(const okapi_runtime_options* options, okapi_runtime** runtime) {
  okapi_error* error = NULL;
  okapi_status status = okapi_runtime_create(options, runtime, &error);
  okapi_error_unref(error);
  return status;
}

/* Structs of other sizes than the library's. */
static void check_sizes(void) {
  okapi_runtime* runtime = NULL;
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  struct {
    okapi_runtime_options known;
    uint64_t added[32]; /* further than what today's library has added */
  } newer;

  options.n_threads = 1;
  options.log_level = 99; /* lies past what the older client has */
  options.struct_size = OKAPI_STRUCT_SIZE(okapi_runtime_options, log_destroy);
  expect(create(&options, &runtime) == OKAPI_OK, "a smaller struct has defaults for the rest",
         NULL);
  okapi_runtime_unref(runtime);

  memset(&newer, 0, sizeof newer);
  newer.known.struct_size = sizeof newer;
  newer.known.n_threads = 1;
  expect(create(&newer.known, &runtime) == OKAPI_OK, "a larger struct may add zeros", NULL);
  okapi_runtime_unref(runtime);

  newer.added[31] = 1;
  expect(create(&newer.known, &runtime) == OKAPI_INVALID_ARGUMENT, "and nothing but zeros", NULL);
}

static void check_generation(okapi_model* model) {
  okapi_session_options session_options = OKAPI_SESSION_OPTIONS_INIT;
  okapi_generate_options generate_options = OKAPI_GENERATE_OPTIONS_INIT;
  okapi_rope* rope = NULL;
  okapi_session* session = NULL;
  okapi_error* error = NULL;
  const int32_t prompt[3] = {5, 6, 7};
  int32_t ids[4];
  size_t n_ids = 0;
  int32_t stop_reason = OKAPI_STOP_NONE;

  expect(okapi_rope_create(model, "linear:scale=2", &rope, &error) == OKAPI_OK, "a rope", error);
  session_options.rope = rope;
  expect(okapi_session_create(model, &session_options, &session, &error) == OKAPI_OK, "a session",
         error);
  generate_options.max_tokens = 4;
  generate_options.ignore_eos = 1;
  expect(okapi_session_generate(session, prompt, 3, &generate_options, ids, 4, &n_ids, &stop_reason,
                                &error) == OKAPI_OK,
         "a generation", error);
  expect(n_ids == 4 && stop_reason == OKAPI_STOP_LENGTH, "that ends at its length", NULL);
  okapi_session_unref(session);
  okapi_rope_unref(rope);
}

int main(void) {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  okapi_runtime* runtime = NULL;
  okapi_model* model = NULL;
  okapi_error* error = NULL;

  expect(OKAPI_ABI_MAJOR_OF(okapi_abi_version()) == OKAPI_ABI_MAJOR, "the major is the same", NULL);
  expect(OKAPI_ABI_MINOR_OF(okapi_abi_version()) >= OKAPI_ABI_MINOR, "the minor is no older", NULL);

  options.n_threads = 1;
  expect(okapi_runtime_create(&options, &runtime, &error) == OKAPI_OK, "a runtime", error);
  expect(okapi_model_create_random(runtime, CONFIG, 1, NULL, &model, &error) == OKAPI_OK, "a model",
         error);
  if (model == NULL) return 1;
  expect(okapi_model_get_info(model, &info, &error) == OKAPI_OK && info.vocab_size == 64,
         "its info", error);
  info.struct_size = OKAPI_STRUCT_SIZE(okapi_model_info, n_layers);
  info.vocab_size = -1;
  expect(okapi_model_get_info(model, &info, &error) == OKAPI_OK && info.vocab_size == -1,
         "an older struct is not overrun", error);
  check_generation(model);
  okapi_model_unref(model);
  okapi_runtime_unref(runtime);
  check_sizes();
  return n_wrong == 0 ? 0 : 1;
}
