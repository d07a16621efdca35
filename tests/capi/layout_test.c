/* Sizes and offsets of the public structs, frozen: clients were compiled with them. A struct may
 * grow at its end, which changes its SIZE line and adds a FIELD line, and nothing else here ever.
 *
 * The numbers are those of the platforms okapi is built for, 64-bit with natural alignment; they
 * follow by adding up the declarations. check_layout.py holds this list complete. */
#include <okapi/okapi.h>
#include <stdio.h>

#include "layout.h"

/* adapter.h */
SIZE(okapi_merge_options, 32);
FIELD(okapi_merge_options, struct_size, 0, 4);
FIELD(okapi_merge_options, dtype, 4, 4);
FIELD(okapi_merge_options, progress, 8, 8);
FIELD(okapi_merge_options, progress_user_data, 16, 8);
FIELD(okapi_merge_options, cancel, 24, 8);

/* cancel.h */
SIZE(okapi_progress, 40);
FIELD(okapi_progress, struct_size, 0, 4);
FIELD(okapi_progress, reserved, 4, 4);
FIELD(okapi_progress, stage, 8, 8);
FIELD(okapi_progress, done, 16, 8);
FIELD(okapi_progress, total, 24, 8);
FIELD(okapi_progress, detail, 32, 8);

/* delta.h */
SIZE(okapi_delta_options, 32);
FIELD(okapi_delta_options, struct_size, 0, 4);
FIELD(okapi_delta_options, dtype, 4, 4);
FIELD(okapi_delta_options, progress, 8, 8);
FIELD(okapi_delta_options, progress_user_data, 16, 8);
FIELD(okapi_delta_options, cancel, 24, 8);

/* evaluation.h */
SIZE(okapi_evaluation_options, 56);
FIELD(okapi_evaluation_options, struct_size, 0, 4);
FIELD(okapi_evaluation_options, batch_size, 4, 4);
FIELD(okapi_evaluation_options, rope, 8, 8);
FIELD(okapi_evaluation_options, rope_length, 16, 8);
FIELD(okapi_evaluation_options, results, 24, 8);
FIELD(okapi_evaluation_options, max_samples, 32, 8);
FIELD(okapi_evaluation_options, adapter, 40, 8);
FIELD(okapi_evaluation_options, deterministic, 48, 1);
FIELD(okapi_evaluation_options, reserved, 49, 7);
SIZE(okapi_run_options, 32);
FIELD(okapi_run_options, struct_size, 0, 4);
FIELD(okapi_run_options, reserved, 4, 4);
FIELD(okapi_run_options, progress, 8, 8);
FIELD(okapi_run_options, progress_user_data, 16, 8);
FIELD(okapi_run_options, cancel, 24, 8);

/* log.h */
SIZE(okapi_log_field, 16);
FIELD(okapi_log_field, key, 0, 8);
FIELD(okapi_log_field, value, 8, 8);
SIZE(okapi_log_record, 56);
FIELD(okapi_log_record, struct_size, 0, 4);
FIELD(okapi_log_record, level, 4, 4);
FIELD(okapi_log_record, component, 8, 8);
FIELD(okapi_log_record, message, 16, 8);
FIELD(okapi_log_record, time_ns, 24, 8);
FIELD(okapi_log_record, thread_id, 32, 8);
FIELD(okapi_log_record, fields, 40, 8);
FIELD(okapi_log_record, n_fields, 48, 8);

/* model.h */
SIZE(okapi_model_options, 56);
FIELD(okapi_model_options, struct_size, 0, 4);
FIELD(okapi_model_options, dtype, 4, 4);
FIELD(okapi_model_options, pair_layout, 8, 4);
FIELD(okapi_model_options, without_tokenizer, 12, 1);
FIELD(okapi_model_options, reserved, 13, 3);
FIELD(okapi_model_options, config_file, 16, 8);
FIELD(okapi_model_options, progress, 24, 8);
FIELD(okapi_model_options, progress_user_data, 32, 8);
FIELD(okapi_model_options, cancel, 40, 8);
FIELD(okapi_model_options, tokenizer_file, 48, 8);
SIZE(okapi_model_info, 120);
FIELD(okapi_model_info, struct_size, 0, 4);
FIELD(okapi_model_info, dtype, 4, 4);
FIELD(okapi_model_info, n_layers, 8, 8);
FIELD(okapi_model_info, d_model, 16, 8);
FIELD(okapi_model_info, d_ff, 24, 8);
FIELD(okapi_model_info, vocab_size, 32, 8);
FIELD(okapi_model_info, n_heads, 40, 8);
FIELD(okapi_model_info, n_kv_heads, 48, 8);
FIELD(okapi_model_info, head_dim, 56, 8);
FIELD(okapi_model_info, trained_length, 64, 8);
FIELD(okapi_model_info, base, 72, 8);
FIELD(okapi_model_info, n_parameters, 80, 8);
FIELD(okapi_model_info, weight_bytes, 88, 8);
FIELD(okapi_model_info, kv_bytes_per_token, 96, 8);
FIELD(okapi_model_info, bos_id, 104, 4);
FIELD(okapi_model_info, eos_id, 108, 4);
FIELD(okapi_model_info, has_tokenizer, 112, 1);
FIELD(okapi_model_info, tied_embeddings, 113, 1);

/* tokens.h */
SIZE(okapi_tokens_options, 40);
FIELD(okapi_tokens_options, struct_size, 0, 4);
FIELD(okapi_tokens_options, reserved, 4, 4);
FIELD(okapi_tokens_options, seed, 8, 8);
FIELD(okapi_tokens_options, progress, 16, 8);
FIELD(okapi_tokens_options, progress_user_data, 24, 8);
FIELD(okapi_tokens_options, cancel, 32, 8);

/* trainer.h */
SIZE(okapi_trainer_options, 32);
FIELD(okapi_trainer_options, struct_size, 0, 4);
FIELD(okapi_trainer_options, resume, 4, 1);
FIELD(okapi_trainer_options, reserved, 5, 3);
FIELD(okapi_trainer_options, progress, 8, 8);
FIELD(okapi_trainer_options, progress_user_data, 16, 8);
FIELD(okapi_trainer_options, cancel, 24, 8);
SIZE(okapi_train_options, 48);
FIELD(okapi_train_options, struct_size, 0, 4);
FIELD(okapi_train_options, reserved, 4, 4);
FIELD(okapi_train_options, progress, 8, 8);
FIELD(okapi_train_options, progress_user_data, 16, 8);
FIELD(okapi_train_options, metrics, 24, 8);
FIELD(okapi_train_options, metrics_user_data, 32, 8);
FIELD(okapi_train_options, cancel, 40, 8);

/* results.h */
SIZE(okapi_results_options, 8);
FIELD(okapi_results_options, struct_size, 0, 4);
FIELD(okapi_results_options, read_only, 4, 1);
FIELD(okapi_results_options, reserved, 5, 3);

/* rope.h */
SIZE(okapi_rope_shape, 32);
FIELD(okapi_rope_shape, struct_size, 0, 4);
FIELD(okapi_rope_shape, n_layers, 4, 4);
FIELD(okapi_rope_shape, head_dim, 8, 8);
FIELD(okapi_rope_shape, trained_length, 16, 8);
FIELD(okapi_rope_shape, base, 24, 8);

/* runtime.h */
SIZE(okapi_runtime_options, 80);
FIELD(okapi_runtime_options, struct_size, 0, 4);
FIELD(okapi_runtime_options, n_threads, 4, 4);
FIELD(okapi_runtime_options, backend, 8, 8);
FIELD(okapi_runtime_options, plugin_paths, 16, 8);
FIELD(okapi_runtime_options, n_plugin_paths, 24, 8);
FIELD(okapi_runtime_options, module_path, 32, 8);
FIELD(okapi_runtime_options, log_sink, 40, 8);
FIELD(okapi_runtime_options, log_user_data, 48, 8);
FIELD(okapi_runtime_options, log_destroy, 56, 8);
FIELD(okapi_runtime_options, log_level, 64, 4);
FIELD(okapi_runtime_options, device_index, 68, 4);
FIELD(okapi_runtime_options, device_stream, 72, 8);
SIZE(okapi_measurement, 80);
FIELD(okapi_measurement, struct_size, 0, 4);
FIELD(okapi_measurement, reserved, 4, 4);
FIELD(okapi_measurement, value, 8, 8);
FIELD(okapi_measurement, kernel, 16, 64);

/* session.h */
SIZE(okapi_session_options, 72);
FIELD(okapi_session_options, struct_size, 0, 4);
FIELD(okapi_session_options, raw_keys, 4, 1);
FIELD(okapi_session_options, deterministic, 5, 1);
FIELD(okapi_session_options, reserved, 6, 2);
FIELD(okapi_session_options, rope, 8, 8);
FIELD(okapi_session_options, rope_length, 16, 8);
FIELD(okapi_session_options, context_length, 24, 8);
FIELD(okapi_session_options, prefill_chunk, 32, 8);
FIELD(okapi_session_options, positions, 40, 8);
FIELD(okapi_session_options, n_positions, 48, 8);
FIELD(okapi_session_options, seed, 56, 8);
FIELD(okapi_session_options, adapter, 64, 8);
SIZE(okapi_restore_options, 16);
FIELD(okapi_restore_options, struct_size, 0, 4);
FIELD(okapi_restore_options, reserved, 4, 4);
FIELD(okapi_restore_options, adapter, 8, 8);
SIZE(okapi_generate_options, 104);
FIELD(okapi_generate_options, struct_size, 0, 4);
FIELD(okapi_generate_options, temperature, 4, 4);
FIELD(okapi_generate_options, max_tokens, 8, 8);
FIELD(okapi_generate_options, min_tokens, 16, 8);
FIELD(okapi_generate_options, top_k, 24, 8);
FIELD(okapi_generate_options, top_p, 32, 4);
FIELD(okapi_generate_options, ignore_eos, 36, 1);
FIELD(okapi_generate_options, reserved, 37, 3);
FIELD(okapi_generate_options, seed, 40, 8);
FIELD(okapi_generate_options, stop_ids, 48, 8);
FIELD(okapi_generate_options, n_stop_ids, 56, 8);
FIELD(okapi_generate_options, stop_texts, 64, 8);
FIELD(okapi_generate_options, n_stop_texts, 72, 8);
FIELD(okapi_generate_options, on_token, 80, 8);
FIELD(okapi_generate_options, on_token_user_data, 88, 8);
FIELD(okapi_generate_options, cancel, 96, 8);

/* An initialiser gives the struct's size without tail padding, and zero everywhere else. */
#define CHECK_INIT(type, init, last_field)                                             \
  do {                                                                                 \
    const type made = init;                                                            \
    const unsigned char* bytes = (const unsigned char*)&made;                          \
    size_t i;                                                                          \
    if (made.struct_size != offsetof(type, last_field) + sizeof(made.last_field)) {    \
      printf("%s: struct_size is %u\n", #init, (unsigned)made.struct_size);            \
      n_wrong++;                                                                       \
    }                                                                                  \
    for (i = sizeof(made.struct_size); i < made.struct_size; ++i) n_wrong += bytes[i]; \
  } while (0)

int main(void) {
  int n_wrong = 0;
  CHECK_INIT(okapi_runtime_options, OKAPI_RUNTIME_OPTIONS_INIT, device_stream);
  CHECK_INIT(okapi_measurement, OKAPI_MEASUREMENT_INIT, kernel);
  CHECK_INIT(okapi_model_options, OKAPI_MODEL_OPTIONS_INIT, tokenizer_file);
  CHECK_INIT(okapi_model_info, OKAPI_MODEL_INFO_INIT, tied_embeddings);
  CHECK_INIT(okapi_rope_shape, OKAPI_ROPE_SHAPE_INIT, base);
  CHECK_INIT(okapi_session_options, OKAPI_SESSION_OPTIONS_INIT, adapter);
  CHECK_INIT(okapi_restore_options, OKAPI_RESTORE_OPTIONS_INIT, adapter);
  CHECK_INIT(okapi_merge_options, OKAPI_MERGE_OPTIONS_INIT, cancel);
  CHECK_INIT(okapi_delta_options, OKAPI_DELTA_OPTIONS_INIT, cancel);
  CHECK_INIT(okapi_generate_options, OKAPI_GENERATE_OPTIONS_INIT, cancel);
  CHECK_INIT(okapi_tokens_options, OKAPI_TOKENS_OPTIONS_INIT, cancel);
  CHECK_INIT(okapi_results_options, OKAPI_RESULTS_OPTIONS_INIT, reserved);
  CHECK_INIT(okapi_evaluation_options, OKAPI_EVALUATION_OPTIONS_INIT, reserved);
  CHECK_INIT(okapi_run_options, OKAPI_RUN_OPTIONS_INIT, cancel);
  CHECK_INIT(okapi_trainer_options, OKAPI_TRAINER_OPTIONS_INIT, cancel);
  CHECK_INIT(okapi_train_options, OKAPI_TRAIN_OPTIONS_INIT, cancel);
  return n_wrong == 0 ? 0 : 1;
}
