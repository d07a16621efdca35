/* okapi in a C program: loads a model, generates from a prompt, and evaluates line retrieval.
 *
 *   embed MODEL ROPE LENGTH      e.g. embed models/savanna-5m yarn:scale=4 1024
 *
 * Build:  cc embed.c $(pkg-config --cflags --libs okapi)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <okapi/okapi.h>

/* Every call reports the same way, so one macro serves all: on failure print why and leave. */
#define TRY(call)                                                 \
  do {                                                            \
    if ((call) != OKAPI_OK) {                                     \
      fprintf(stderr, "embed: %s\n", okapi_error_message(error)); \
      goto done;                                                  \
    }                                                             \
  } while (0)

static int32_t print_token(int32_t id, const char* text, size_t n_bytes, void* user_data) {
  (void)id;
  (void)user_data;
  fwrite(text, 1, n_bytes, stdout);
  return 0; /* go on */
}

int main(int argc, char** argv) {
  const char* const prompt =
      "line keen-bucket: REGISTER_CONTENT is <33185>\n"
      "line rough-pillow: REGISTER_CONTENT is <13724>\n"
      "What is the REGISTER_CONTENT in line rough-pillow? <";
  const char* const stop_texts[] = {">"};
  int32_t prompt_ids[256], ids[16];
  size_t n_prompt = 0, n_ids = 0, needed = 0;
  char task_parameters[64];
  char* report = NULL;
  int exit_code = 1;

  okapi_error* error = NULL;
  okapi_runtime* runtime = NULL;
  okapi_model* model = NULL;
  okapi_tokenizer* tokenizer = NULL;
  okapi_rope* rope = NULL;
  okapi_session* session = NULL;
  okapi_task* task = NULL;
  okapi_evaluation* evaluation = NULL;
  okapi_session_options session_options = OKAPI_SESSION_OPTIONS_INIT;
  okapi_generate_options generate_options = OKAPI_GENERATE_OPTIONS_INIT;
  okapi_evaluation_options evaluation_options = OKAPI_EVALUATION_OPTIONS_INIT;

  if (argc != 4) {
    fprintf(stderr, "usage: embed MODEL ROPE LENGTH\n");
    return 2;
  }

  /* Weights are loaded once; a position scheme belongs to a session. */
  TRY(okapi_runtime_create(NULL, &runtime, &error));
  TRY(okapi_model_open(runtime, argv[1], NULL, &model, &error));
  TRY(okapi_model_get_tokenizer(model, &tokenizer, &error));
  TRY(okapi_rope_create(model, argv[2], &rope, &error));

  /* Generate. Greedy, and written as it comes. */
  session_options.rope = rope;
  TRY(okapi_session_create(model, &session_options, &session, &error));
  TRY(okapi_tokenizer_encode(tokenizer, prompt, strlen(prompt), 1, prompt_ids, 256, &n_prompt,
                             &error));
  generate_options.max_tokens = 16;
  generate_options.stop_texts = stop_texts;
  generate_options.n_stop_texts = 1;
  generate_options.on_token = print_token;
  fputs("answer: <", stdout);
  TRY(okapi_session_generate(session, prompt_ids, (int64_t)n_prompt, &generate_options, ids, 16,
                             &n_ids, NULL, &error));
  printf("\n%d prompt tokens, %d generated\n", (int)n_prompt, (int)n_ids);

  /* Evaluate. The report is JSON; asked without a buffer, a call says how much it needs. */
  snprintf(task_parameters, sizeof task_parameters,
           "{\"style\": \"compact\", \"length\": %d, \"n_samples\": 8}", atoi(argv[3]));
  TRY(okapi_task_open(runtime, "lines", task_parameters, 1, tokenizer, NULL, &task, &error));
  evaluation_options.rope = rope;
  TRY(okapi_evaluation_create(task, model, &evaluation_options, &evaluation, &error));
  TRY(okapi_evaluation_run(evaluation, NULL, &error));
  TRY(okapi_evaluation_report(evaluation, NULL, 0, &needed, &error));
  report = malloc(needed);
  if (report == NULL) goto done;
  TRY(okapi_evaluation_report(evaluation, report, needed, NULL, &error));
  printf("report: %s\n", report);
  exit_code = 0;

done: /* any order is legal, and NULL is nothing */
  free(report);
  okapi_evaluation_unref(evaluation);
  okapi_task_unref(task);
  okapi_session_unref(session);
  okapi_rope_unref(rope);
  okapi_tokenizer_unref(tokenizer);
  okapi_model_unref(model);
  okapi_runtime_unref(runtime);
  okapi_error_unref(error);
  return exit_code;
}
