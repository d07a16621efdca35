#include "runtime/model/weights.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/permute_pairs.h"

namespace okapi {

namespace {

/// What the kernels rotate; weights that lie otherwise are permuted to it.
constexpr PairLayout kKernelLayout = PairLayout::half_split;

class WeightsBuilder {
 public:
  WeightsBuilder(const std::shared_ptr<Backend>& backend, const ModelConfig& config,
                 const WeightSource& source, const WeightOptions& options)
      : backend_(backend),
        config_(config),
        source_(source),
        options_(options),
        stream_(backend->create_stream()),
        keep_(options.dtype) {
    for_each_llama_tensor(config, [this](const ExpectedTensor& tensor) {
      int64_t count = 1;
      for (const int64_t size : tensor.shape) count *= size;
      n_total_ += count;
    });
  }

  std::unique_ptr<const Weights> build() {
    auto weights = std::make_unique<Weights>();
    weights->n_parameters = static_cast<uint64_t>(n_total_);
    weights->dtype = keep_;

    weights->embedding = matrix({"model.embed_tokens.weight"});
    weights->output = config_.tied_embeddings ? weights->embedding : matrix({"lm_head.weight"});
    weights->final_norm = norm("model.norm.weight");
    for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
      weights->layers.push_back(build_layer(layer));
    }
    weights->bytes = n_bytes_;
    return weights;
  }

 private:
  LayerWeights build_layer(int64_t layer) {
    const auto name = [layer](const char* part) { return layer_tensor_name(layer, part); };
    LayerWeights weights;
    weights.input_norm = norm(name("input_layernorm"));
    weights.qkv =
        matrix({name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")},
               {config_.n_heads, config_.n_kv_heads, 0});
    weights.out = matrix({name("self_attn.o_proj")});
    weights.attention_norm = norm(name("post_attention_layernorm"));
    weights.gate_up = matrix({name("mlp.gate_proj"), name("mlp.up_proj")});
    weights.down = matrix({name("mlp.down_proj")});
    return weights;
  }

  /// One matrix of the row blocks `names`. `n_rotated_heads` of a block is 0 if it is not rotated.
  std::unique_ptr<PreparedWeight> matrix(const std::vector<std::string>& names,
                                         const std::vector<int64_t>& n_rotated_heads = {}) {
    if (options_.cancel) options_.cancel->check();
    std::vector<LentTensor> blocks;
    std::vector<ConstTensorView> views;
    for (size_t i = 0; i < names.size(); ++i) {
      LentTensor block = source_(names[i]);
      const int64_t n_heads = i < n_rotated_heads.size() ? n_rotated_heads[i] : 0;
      if (n_heads > 0 && options_.pair_layout != kKernelLayout) {
        HostTensor permuted = permute_pairs(block.view, n_heads, config_.head_dim,
                                            options_.pair_layout, kKernelLayout);
        block.view = std::as_const(permuted).view();
        block.storage = std::move(permuted);
      }
      // A backend keeps bf16 only of bf16; the other way round it widens by itself.
      if (keep_ == DType::bf16 && block.view.dtype != DType::bf16) {
        HostTensor rounded = converted(block.view, DType::bf16);
        block.view = std::as_const(rounded).view();
        block.storage = std::move(rounded);
      }
      blocks.push_back(std::move(block));
      views.push_back(blocks.back().view);
    }
    auto prepared = backend_->prepare_weight(views, keep_);
    n_bytes_ += prepared->bytes;
    for (const ConstTensorView& view : views) finished(view.count());
    return prepared;
  }

  Tensor norm(const std::string& name) {
    const LentTensor lent = source_(name);
    const HostTensor values = converted(lent.view, DType::f32);
    const size_t size = static_cast<size_t>(config_.d_model) * sizeof(float);
    Tensor tensor(backend_, DType::f32, {config_.d_model});
    stream_->upload(tensor.view().data, values.view().data, size);
    stream_->synchronize();
    n_bytes_ += size;
    finished(config_.d_model);
    return tensor;
  }

  void finished(int64_t n_elements) {
    n_done_ += n_elements;
    const auto element = static_cast<int64_t>(size_of(keep_));
    if (options_.progress) options_.progress(n_done_ * element, n_total_ * element);
  }

  const std::shared_ptr<Backend>& backend_;
  const ModelConfig& config_;
  const WeightSource& source_;
  const WeightOptions& options_;
  std::unique_ptr<Stream> stream_;
  DType keep_;
  int64_t n_total_ = 0;
  int64_t n_done_ = 0;
  uint64_t n_bytes_ = 0;
};

}  // namespace

std::unique_ptr<const Weights> prepare_weights(const std::shared_ptr<Backend>& backend,
                                               const ModelConfig& config,
                                               const WeightSource& source,
                                               const WeightOptions& options) {
  if (options.dtype != DType::f32 && options.dtype != DType::bf16) {
    throw Error(Code::invalid_argument, "dtype: weights are kept as f32 or bf16")
        .in("model")
        .field("dtype");
  }
  return WeightsBuilder(backend, config, source, options).build();
}

}  // namespace okapi
