#include "runtime/model/transformer.h"

#include "runtime/model/adapter_weights.h"

namespace okapi {

namespace {

RotaryView rows_of(const RotaryView& rotation, int64_t first, int64_t n) {
  RotaryView rows = rotation;
  for (ConstTensorView* table : {&rows.cos, &rows.sin}) {
    table->data = static_cast<const float*>(table->data) + first * table->strides[0];
    table->shape[0] = n;
  }
  return rows;
}

/// What is left to attend once only some rows are wanted: each wanted row is a sequence of one
/// query behind the keys before it, which the full rows have stored already.
std::vector<KvSequence> sequences_of_rows(std::span<const KvSequence> sequences,
                                          std::span<const int64_t> rows) {
  std::vector<KvSequence> narrowed;
  narrowed.reserve(rows.size());
  auto sequence = sequences.begin();
  for (const int64_t row : rows) {
    while (row >= sequence->first_row + sequence->n_tokens) ++sequence;
    const int64_t index = row - sequence->first_row;
    KvSequence one = *sequence;
    one.first_row = static_cast<int64_t>(narrowed.size());
    one.n_tokens = 1;
    one.n_cached = sequence->n_cached + index;
    one.query_rotation = rows_of(sequence->query_rotation, index, 1);
    one.key_rotation = sequence->keys_are_raw ? rows_of(sequence->key_rotation, 0, one.n_cached + 1)
                                              : rows_of(sequence->key_rotation, index, 1);
    narrowed.push_back(one);
  }
  return narrowed;
}

}  // namespace

ConstTensorView Transformer::forward(Workspace& workspace, const ForwardBatch& batch,
                                     std::span<const CancelToken* const> cancels) const {
  Stream& stream = workspace.stream();
  const auto epsilon = static_cast<float>(config_.rms_norm_eps);
  const int64_t width = config_.d_model;
  const int64_t attention_width = config_.n_heads * config_.head_dim;
  const int64_t qkv_width = attention_width + 2 * config_.n_kv_heads * config_.head_dim;
  const auto n_all = static_cast<int64_t>(batch.ids.size());
  const auto n_wanted = static_cast<int64_t>(batch.wanted_rows.size());

  TensorView residual = workspace.buffer(Buffer::residual, n_all, width);
  TensorView normed = workspace.buffer(Buffer::normed, n_all, width);
  TensorView delta = workspace.buffer(Buffer::delta, n_all, width);
  TensorView qkv = workspace.buffer(Buffer::qkv, n_all, qkv_width);
  TensorView attended = workspace.buffer(Buffer::attended, n_all, attention_width);
  TensorView gate_up = workspace.buffer(Buffer::gate_up, n_all, 2 * config_.d_ff);
  TensorView activated = workspace.buffer(Buffer::activated, n_all, config_.d_ff);

  const auto linear = [&](int64_t layer, LayerMatrix matrix, const PreparedWeight& weight,
                          ConstTensorView x, TensorView out) {
    stream.linear(x, weight, out);
    if (batch.adapter != nullptr) batch.adapter->add_branches(workspace, layer, matrix, x, out);
  };

  stream.embed(*weights_.embedding, batch.ids, residual);
  ConstTensorView pending;  // what the residual has still to receive

  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    for (const CancelToken* cancel : cancels) cancel->check();
    const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer)];
    const auto group = static_cast<size_t>(batch.group_of_layer[static_cast<size_t>(layer)]);
    std::span<const KvSequence> sequences = batch.sequences_of_group[group];
    std::vector<KvSequence> narrowed;

    // Attention: q, k and v of every row; keys and values go to the cache.
    stream.add_rms_norm(residual, pending, weights.input_norm.view(), epsilon, normed);
    linear(layer, LayerMatrix::qkv, *weights.qkv, normed, qkv);
    stream.rotate_and_store(qkv, config_.n_heads, layout_, layer, sequences);

    // Past this point nothing reaches the cache any more, so rows nobody reads are dropped.
    if (layer == config_.n_layers - 1 && n_wanted < n_all) {
      if (n_wanted == 0) return {};
      narrowed = sequences_of_rows(sequences, batch.wanted_rows);
      sequences = narrowed;
      TensorView few = workspace.buffer(Buffer::gate_up, n_wanted, qkv_width);
      stream.gather_rows(qkv, batch.wanted_rows, few);
      qkv = few;
      few = workspace.buffer(Buffer::normed, n_wanted, width);
      stream.gather_rows(residual, batch.wanted_rows, few);
      residual = few;
      // Their former owners have been read: the buffers serve again, with fewer rows.
      normed = workspace.buffer(Buffer::residual, n_wanted, width);
      delta = workspace.buffer(Buffer::delta, n_wanted, width);
      attended = workspace.buffer(Buffer::attended, n_wanted, attention_width);
      gate_up = workspace.buffer(Buffer::qkv, n_wanted, 2 * config_.d_ff);
      activated = workspace.buffer(Buffer::activated, n_wanted, config_.d_ff);
    }
    stream.attention(qkv, config_.n_heads, layout_, layer, sequences, attended);
    linear(layer, LayerMatrix::out, *weights.out, attended, delta);

    // Feed-forward.
    stream.add_rms_norm(residual, delta, weights.attention_norm.view(), epsilon, normed);
    linear(layer, LayerMatrix::gate_up, *weights.gate_up, normed, gate_up);
    stream.swiglu(gate_up, activated);
    linear(layer, LayerMatrix::down, *weights.down, activated, delta);
    pending = delta;
  }
  stream.add_rms_norm(residual, pending, weights_.final_norm.view(), epsilon, normed);
  return normed;
}

ConstTensorView Transformer::logits(Workspace& workspace, ConstTensorView hidden) const {
  TensorView out =
      workspace.buffer(Buffer::logits, hidden.shape[0], config_.vocab_size, DType::f32);
  workspace.stream().linear(hidden, *weights_.output, out);
  return out;
}

ConstTensorView Transformer::log_loss(Workspace& workspace, ConstTensorView hidden,
                                      std::span<const int32_t> targets) const {
  const TensorView buffer = workspace.buffer(Buffer::nll, hidden.shape[0], 1, DType::f32);
  const TensorView nll(buffer.data, DType::f32, {hidden.shape[0]});
  workspace.stream().log_loss(hidden, *weights_.output, targets, nll);
  return nll;
}

}  // namespace okapi
