// What a model says about itself, for reports.
#include "runtime/model/model.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/safetensors.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

Json Model::describe() const {
  Json json = {
      {"path", path_},
      {"architecture", config_.architecture},
      {"n_layers", config_.n_layers},
      {"d_model", config_.d_model},
      {"d_ff", config_.d_ff},
      {"vocab_size", config_.vocab_size},
      {"n_heads", config_.n_heads},
      {"n_kv_heads", config_.n_kv_heads},
      {"head_dim", config_.head_dim},
      {"rms_norm_eps", config_.rms_norm_eps},
      {"tied_embeddings", config_.tied_embeddings},
      {"trained_length", config_.trained_length},
      {"max_position_embeddings", config_.max_position_embeddings},
      {"base", config_.rope_base},
      {"rope", rope_->canonical()},
      {"pair_layout", pair_layout_ == PairLayout::half_split ? "half_split" : "interleaved"},
      {"bos_id", config_.bos_id},
      {"eos_ids", config_.eos_ids},
      {"dtype", safetensors_name(dtype())},
      {"n_parameters", n_parameters()},
      {"weight_bytes", weight_bytes()},
      {"kv_bytes_per_token", kv_bytes_per_token()},
      {"kv_dtype", safetensors_name(kv_layout_.dtype)},
      {"ignored_keys", config_.ignored_keys},
      {"sha256", sha256()},
  };
  json["tokenizer"] = nullptr;
  if (tokenizer_) {
    json["tokenizer"] = {{"path", tokenizer_->path()},
                         {"sha256", tokenizer_->sha256()},
                         {"vocab_size", tokenizer_->vocab_size()}};
  }
  return json;
}

}  // namespace okapi
