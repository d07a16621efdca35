// Where the fields of the public option and info structs end. A struct that grows gets its new
// field here too; tests/capi/layout_test.c holds the numbers still.
#pragma once

#include <okapi/adapter.h>
#include <okapi/delta.h>
#include <okapi/evaluation.h>
#include <okapi/model.h>
#include <okapi/results.h>
#include <okapi/rope.h>
#include <okapi/runtime.h>
#include <okapi/session.h>
#include <okapi/tokens.h>
#include <okapi/trainer.h>

#include "capi/src/options.h"

namespace okapi::capi {

#define OKAPI_END(field) OKAPI_STRUCT_SIZE(T, field)

template <>
struct FieldEnds<okapi_runtime_options> {
  using T = okapi_runtime_options;
  static constexpr uint32_t kEnds[] = {
      OKAPI_END(struct_size),  OKAPI_END(n_threads),      OKAPI_END(backend),
      OKAPI_END(plugin_paths), OKAPI_END(n_plugin_paths), OKAPI_END(module_path),
      OKAPI_END(log_sink),     OKAPI_END(log_user_data),  OKAPI_END(log_destroy),
      OKAPI_END(log_level),    OKAPI_END(device_index),   OKAPI_END(device_stream)};
};

template <>
struct FieldEnds<okapi_measurement> {
  using T = okapi_measurement;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(reserved),
                                       OKAPI_END(value), OKAPI_END(kernel)};
};

template <>
struct FieldEnds<okapi_model_options> {
  using T = okapi_model_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(dtype),
                                       OKAPI_END(pair_layout), OKAPI_END(without_tokenizer),
                                       OKAPI_END(reserved),    OKAPI_END(config_file),
                                       OKAPI_END(progress),    OKAPI_END(progress_user_data),
                                       OKAPI_END(cancel),      OKAPI_END(tokenizer_file)};
};

template <>
struct FieldEnds<okapi_tokens_options> {
  using T = okapi_tokens_options;
  static constexpr uint32_t kEnds[] = {
      OKAPI_END(struct_size), OKAPI_END(reserved),           OKAPI_END(seed),
      OKAPI_END(progress),    OKAPI_END(progress_user_data), OKAPI_END(cancel)};
};

template <>
struct FieldEnds<okapi_model_info> {
  using T = okapi_model_info;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size),   OKAPI_END(dtype),
                                       OKAPI_END(n_layers),      OKAPI_END(d_model),
                                       OKAPI_END(d_ff),          OKAPI_END(vocab_size),
                                       OKAPI_END(n_heads),       OKAPI_END(n_kv_heads),
                                       OKAPI_END(head_dim),      OKAPI_END(trained_length),
                                       OKAPI_END(base),          OKAPI_END(n_parameters),
                                       OKAPI_END(weight_bytes),  OKAPI_END(kv_bytes_per_token),
                                       OKAPI_END(bos_id),        OKAPI_END(eos_id),
                                       OKAPI_END(has_tokenizer), OKAPI_END(tied_embeddings)};
};

template <>
struct FieldEnds<okapi_rope_shape> {
  using T = okapi_rope_shape;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(n_layers),
                                       OKAPI_END(head_dim), OKAPI_END(trained_length),
                                       OKAPI_END(base)};
};

template <>
struct FieldEnds<okapi_session_options> {
  using T = okapi_session_options;
  static constexpr uint32_t kEnds[] = {
      OKAPI_END(struct_size),    OKAPI_END(raw_keys),      OKAPI_END(deterministic),
      OKAPI_END(reserved),       OKAPI_END(rope),          OKAPI_END(rope_length),
      OKAPI_END(context_length), OKAPI_END(prefill_chunk), OKAPI_END(positions),
      OKAPI_END(n_positions),    OKAPI_END(seed),          OKAPI_END(adapter)};
};

template <>
struct FieldEnds<okapi_restore_options> {
  using T = okapi_restore_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(reserved),
                                       OKAPI_END(adapter)};
};

template <>
struct FieldEnds<okapi_merge_options> {
  using T = okapi_merge_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(dtype),
                                       OKAPI_END(progress), OKAPI_END(progress_user_data),
                                       OKAPI_END(cancel)};
};

template <>
struct FieldEnds<okapi_delta_options> {
  using T = okapi_delta_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(dtype),
                                       OKAPI_END(progress), OKAPI_END(progress_user_data),
                                       OKAPI_END(cancel)};
};

template <>
struct FieldEnds<okapi_generate_options> {
  using T = okapi_generate_options;
  static constexpr uint32_t kEnds[] = {
      OKAPI_END(struct_size),  OKAPI_END(temperature), OKAPI_END(max_tokens),
      OKAPI_END(min_tokens),   OKAPI_END(top_k),       OKAPI_END(top_p),
      OKAPI_END(ignore_eos),   OKAPI_END(reserved),    OKAPI_END(seed),
      OKAPI_END(stop_ids),     OKAPI_END(n_stop_ids),  OKAPI_END(stop_texts),
      OKAPI_END(n_stop_texts), OKAPI_END(on_token),    OKAPI_END(on_token_user_data),
      OKAPI_END(cancel)};
};

template <>
struct FieldEnds<okapi_results_options> {
  using T = okapi_results_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(read_only),
                                       OKAPI_END(reserved)};
};

template <>
struct FieldEnds<okapi_evaluation_options> {
  using T = okapi_evaluation_options;
  static constexpr uint32_t kEnds[] = {
      OKAPI_END(struct_size), OKAPI_END(batch_size),    OKAPI_END(rope),
      OKAPI_END(rope_length), OKAPI_END(results),       OKAPI_END(max_samples),
      OKAPI_END(adapter),     OKAPI_END(deterministic), OKAPI_END(reserved)};
};

template <>
struct FieldEnds<okapi_run_options> {
  using T = okapi_run_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(reserved),
                                       OKAPI_END(progress), OKAPI_END(progress_user_data),
                                       OKAPI_END(cancel)};
};

template <>
struct FieldEnds<okapi_trainer_options> {
  using T = okapi_trainer_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size),        OKAPI_END(resume),
                                       OKAPI_END(reserved),           OKAPI_END(progress),
                                       OKAPI_END(progress_user_data), OKAPI_END(cancel)};
};

template <>
struct FieldEnds<okapi_train_options> {
  using T = okapi_train_options;
  static constexpr uint32_t kEnds[] = {OKAPI_END(struct_size), OKAPI_END(reserved),
                                       OKAPI_END(progress),    OKAPI_END(progress_user_data),
                                       OKAPI_END(metrics),     OKAPI_END(metrics_user_data),
                                       OKAPI_END(cancel)};
};

#undef OKAPI_END

}  // namespace okapi::capi
