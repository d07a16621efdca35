#include "runtime/training/parameters.h"

#include <algorithm>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/permute_pairs.h"
#include "runtime/training/parameter_filter.h"

namespace okapi {

namespace {

constexpr PairLayout kKernelLayout = PairLayout::half_split;

size_t bytes_of(const ConstTensorView& view) {
  return static_cast<size_t>(view.count()) * size_of(view.dtype);
}

}  // namespace

Parameters::Parameters(std::shared_ptr<Backend> backend, ModelConfig config,
                       const WeightSource& source, const ParameterOptions& options,
                       TrainingStream& stream)
    : backend_(std::move(backend)),
      config_(std::move(config)),
      pair_layout_(options.pair_layout),
      source_(&source),
      options_(&options),
      stream_(&stream),
      word_selects_(options.trained.size()) {
  const LentTensor embedding = source("model.embed_tokens.weight");
  activations_ = options.activations;
  const bool is_narrow = embedding.view.dtype == DType::bf16 || activations_ == DType::bf16;
  keep_ = options.base_dtype.value_or(is_narrow ? DType::bf16 : DType::f32);
  if (options.adapter != nullptr) adapter_shape_ = options.adapter->shape();

  network_.embedding = add_matrix({{"model.embed_tokens.weight"}});
  network_.output = config_.tied_embeddings ? network_.embedding : add_matrix({{"lm_head.weight"}});
  network_.final_norm = add_norm("model.norm.weight");
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    const auto name = [layer](const char* part) { return layer_tensor_name(layer, part); };
    TrainedLayer weights;
    weights.input_norm = add_norm(name("input_layernorm"));
    weights.qkv = add_matrix({{name("self_attn.q_proj"), config_.n_heads},
                              {name("self_attn.k_proj"), config_.n_kv_heads},
                              {name("self_attn.v_proj")}});
    weights.out = add_matrix({{name("self_attn.o_proj")}});
    weights.attention_norm = add_norm(name("post_attention_layernorm"));
    weights.gate_up = add_matrix({{name("mlp.gate_proj")}, {name("mlp.up_proj")}});
    weights.down = add_matrix({{name("mlp.down_proj")}});
    add_branches(layer, weights);
    network_.layers.push_back(std::move(weights));
  }
  check_words();
  zero_gradients(stream);
  zero_moments(stream);
  refresh(stream);
  stream.synchronize();
  for (const auto& matrix : matrices_) {
    (matrix->master.empty() ? bytes_.frozen : bytes_.prepared) += matrix->weight->bytes;
  }
  source_ = nullptr;
  options_ = nullptr;
  stream_ = nullptr;
}

bool Parameters::selects(const std::string& name, bool is_adapter) {
  bool any = false;
  for (size_t i = 0; i < options_->trained.size(); ++i) {
    if (!selects_parameter(options_->trained[i], name, is_adapter)) continue;
    word_selects_[i] = true;
    any = true;
  }
  return any;
}

void Parameters::check_words() const {
  for (size_t i = 0; i < word_selects_.size(); ++i) {
    if (word_selects_[i]) continue;
    const std::string& word = options_->trained[i];
    const bool lacks_adapter = word == "lora" && options_->adapter == nullptr;
    throw Error(Code::invalid_argument, "parameters.train: \"" + word + "\" selects no tensor" +
                                            (lacks_adapter ? ", as there is no lora section" : ""))
        .in("training")
        .field("parameters.train");
  }
}

Tensor Parameters::make(DType dtype, std::initializer_list<int64_t> shape, uint64_t& bytes) {
  Tensor tensor(backend_, dtype, shape);
  bytes += tensor.bytes();
  return tensor;
}

LentTensor Parameters::lend(const Block& block) const {
  LentTensor lent = (*source_)(block.name);
  if (block.n_rotated_heads > 0 && pair_layout_ != kKernelLayout) {
    HostTensor permuted = permute_pairs(lent.view, block.n_rotated_heads, config_.head_dim,
                                        pair_layout_, kKernelLayout);
    lent.view = std::as_const(permuted).view();
    lent.storage = std::move(permuted);
  }
  return lent;
}

void Parameters::add_parameter(const std::string& name, std::vector<int64_t> shape, bool is_adapter,
                               int64_t n_rotated_heads, TensorView value, TensorView gradient) {
  Parameter parameter;
  parameter.name = name;
  parameter.shape = std::move(shape);
  parameter.is_adapter = is_adapter;
  parameter.n_rotated_heads = n_rotated_heads;
  parameter.value = value;
  parameter.gradient = gradient;
  parameter.first_moment = make(DType::f32, {value.count()}, bytes_.moments);
  parameter.second_moment = make(DType::f32, {value.count()}, bytes_.moments);
  trained_.push_back(std::move(parameter));
}

void Parameters::fill_trained(Matrix& matrix, const std::vector<Block>& blocks,
                              const std::vector<LentTensor>& lent) {
  int64_t n_rows = 0;
  for (const LentTensor& tensor : lent) n_rows += tensor.view.shape[0];
  const int64_t n_columns = lent.front().view.shape[1];
  matrix.master = make(DType::f32, {n_rows, n_columns}, bytes_.masters);
  matrix.gradient = make(DType::f32, {n_rows, n_columns}, bytes_.gradients);
  int64_t first = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Block& block = blocks[i];
    const HostTensor values = converted(lent[i].view, DType::f32);
    const int64_t n = lent[i].view.shape[0];
    const TensorView rows = matrix.master.rows(first, n);
    stream_->upload(rows.data, values.view().data, bytes_of(values.view()));
    stream_->synchronize();  // before the host's values go
    if (selects(block.name, /*is_adapter=*/false)) {
      add_parameter(block.name, {n, n_columns}, false, block.n_rotated_heads, rows,
                    matrix.gradient.rows(first, n));
    }
    first += n;
  }
  matrix.weight = backend_->training()->trainable_weight(matrix.master.view(), activations_);
}

void Parameters::fill_frozen(Matrix& matrix, std::vector<LentTensor> lent) {
  std::vector<ConstTensorView> views;
  for (LentTensor& tensor : lent) {
    // A backend keeps bf16 only of bf16; the other way round it widens by itself.
    if (keep_ == DType::bf16 && tensor.view.dtype != DType::bf16) {
      HostTensor rounded = converted(tensor.view, DType::bf16);
      tensor.view = std::as_const(rounded).view();
      tensor.storage = std::move(rounded);
    }
    views.push_back(tensor.view);
  }
  matrix.weight = backend_->prepare_weight(views, keep_);
}

TrainedMatrix Parameters::add_matrix(const std::vector<Block>& blocks) {
  if (options_->cancel != nullptr) options_->cancel->check();
  bool any = false;
  std::vector<LentTensor> lent;
  for (const Block& block : blocks) {
    any = selects(block.name, /*is_adapter=*/false) || any;
    lent.push_back(lend(block));
  }
  auto matrix = std::make_unique<Matrix>();
  if (any) {
    fill_trained(*matrix, blocks, lent);
  } else {
    fill_frozen(*matrix, std::move(lent));
  }
  TrainedMatrix view;
  view.weight = matrix->weight.get();
  if (any) view.gradient = matrix->gradient.view();
  matrices_.push_back(std::move(matrix));
  return view;
}

TrainedNorm Parameters::add_norm(const std::string& name) {
  const LentTensor lent = (*source_)(name);
  const HostTensor values = converted(lent.view, DType::f32);
  const bool is_trained = selects(name, /*is_adapter=*/false);
  const auto add = [&](uint64_t& bytes) -> Tensor& {
    tensors_.push_back(std::make_unique<Tensor>(make(DType::f32, {config_.d_model}, bytes)));
    return *tensors_.back();
  };
  Tensor& weight = add(is_trained ? bytes_.masters : bytes_.frozen);
  stream_->upload(weight.view().data, values.view().data, bytes_of(values.view()));
  stream_->synchronize();

  TrainedNorm norm;
  norm.weight = weight.view();
  if (is_trained) {
    norm.gradient = add(bytes_.gradients).view();
    add_parameter(name, {config_.d_model}, false, 0, weight.view(), norm.gradient);
  }
  return norm;
}

void Parameters::add_branches(int64_t layer, TrainedLayer& weights) {
  if (options_->adapter == nullptr) return;
  const int64_t q_width = config_.n_heads * config_.head_dim;
  const int64_t kv_width = config_.n_kv_heads * config_.head_dim;
  struct Place {
    Projection projection;
    TrainedMatrix& matrix;
    int64_t first_column;
  };
  const Place places[] = {{Projection::q, weights.qkv, 0},
                          {Projection::k, weights.qkv, q_width},
                          {Projection::v, weights.qkv, q_width + kv_width},
                          {Projection::o, weights.out, 0},
                          {Projection::gate, weights.gate_up, 0},
                          {Projection::up, weights.gate_up, config_.d_ff},
                          {Projection::down, weights.down, 0}};
  for (const Place& place : places) {
    if (options_->adapter->find(layer, place.projection) == nullptr) continue;
    place.matrix.branches.push_back(add_branch(layer, place.projection, place.first_column));
  }
}

LoraBranch Parameters::add_branch(int64_t layer, Projection projection, int64_t first_column) {
  const Adapter::Key key(layer, projection);
  const AdapterModule& module = *options_->adapter->find(layer, projection);
  const bool is_rotated = projection == Projection::q || projection == Projection::k;
  const int64_t n_heads = !is_rotated                   ? 0
                          : projection == Projection::q ? config_.n_heads
                                                        : config_.n_kv_heads;

  LoraBranch branch;
  branch.first_column = first_column;
  branch.scale = static_cast<float>(adapter_shape_->scale());
  branch.dropout = static_cast<float>(adapter_shape_->dropout);
  branch.dropout_stream =
      static_cast<uint64_t>(layer) * kNProjections + static_cast<uint64_t>(projection);
  for (const char letter : {'A', 'B'}) {
    const ConstTensorView host = letter == 'A' ? module.a.view() : module.b.view();
    const std::string name = adapter_tensor_name(key, letter);
    const bool is_trained = selects(name, /*is_adapter=*/true);
    const auto add = [&](uint64_t& bytes) -> Tensor& {
      tensors_.push_back(
          std::make_unique<Tensor>(make(DType::f32, {host.shape[0], host.shape[1]}, bytes)));
      return *tensors_.back();
    };
    Tensor& value = add(is_trained ? bytes_.masters : bytes_.frozen);
    TensorView gradient;
    if (is_trained) gradient = add(bytes_.gradients).view();
    (letter == 'A' ? branch.a : branch.b) = value.view();
    (letter == 'A' ? branch.a_gradient : branch.b_gradient) = gradient;

    Parameter parameter;
    parameter.value = value.view();
    parameter.n_rotated_heads = letter == 'B' ? n_heads : 0;
    upload(parameter, host, *stream_);
    if (is_trained) {
      add_parameter(name, {host.shape[0], host.shape[1]}, true, parameter.n_rotated_heads,
                    value.view(), gradient);
    }
  }
  return branch;
}

Parameter* Parameters::find(const std::string& name) {
  const auto found = std::find_if(trained_.begin(), trained_.end(),
                                  [&](const Parameter& item) { return item.name == name; });
  return found == trained_.end() ? nullptr : &*found;
}

void Parameters::zero_gradients(TrainingStream& stream) {
  const auto zero = [&stream](const TensorView& view) {
    if (!view.empty()) stream.zero(view.data, bytes_of(view));
  };
  for (const auto& matrix : matrices_) zero(matrix->gradient.view());
  for (const Parameter& parameter : trained_) {
    if (parameter.is_adapter || parameter.shape.size() == 1) zero(parameter.gradient);
  }
}

void Parameters::zero_moments(TrainingStream& stream) {
  for (Parameter& parameter : trained_) {
    for (Tensor* moment : {&parameter.first_moment, &parameter.second_moment}) {
      stream.zero(moment->view().data, moment->bytes());
    }
  }
}

void Parameters::refresh(TrainingStream& stream) {
  std::vector<PreparedWeight*> weights;
  for (const auto& matrix : matrices_) {
    if (!matrix->master.empty()) weights.push_back(matrix->weight.get());
  }
  stream.refresh(weights);
}

bool Parameters::trains_base() const {
  return std::any_of(trained_.begin(), trained_.end(),
                     [](const Parameter& parameter) { return !parameter.is_adapter; });
}

uint64_t Parameters::n_trained() const {
  uint64_t n = 0;
  for (const Parameter& parameter : trained_) n += static_cast<uint64_t>(parameter.count());
  return n;
}

HostTensor Parameters::download(const Parameter& parameter, TrainingStream& stream) const {
  const TensorView& view = parameter.value;
  HostTensor values = view.rank == 1 ? HostTensor(DType::f32, {view.shape[0]})
                                     : HostTensor(DType::f32, {view.shape[0], view.shape[1]});
  stream.download(values.view().data, view.data, bytes_of(view));
  stream.synchronize();
  if (parameter.n_rotated_heads == 0 || pair_layout_ == kKernelLayout) return values;
  return permute_pairs(std::as_const(values).view(), parameter.n_rotated_heads, config_.head_dim,
                       kKernelLayout, pair_layout_);
}

void Parameters::upload(Parameter& parameter, ConstTensorView value, TrainingStream& stream) {
  HostTensor permuted;
  if (parameter.n_rotated_heads > 0 && pair_layout_ != kKernelLayout) {
    permuted = permute_pairs(value, parameter.n_rotated_heads, config_.head_dim, pair_layout_,
                             kKernelLayout);
    value = std::as_const(permuted).view();
  }
  stream.upload(parameter.value.data, value.data, bytes_of(value));
  stream.synchronize();
}

Adapter Parameters::adapter(TrainingStream& stream) const {
  Adapter adapter = Adapter::fresh(config_, *adapter_shape_, 0);
  std::set<Adapter::Key> present;
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    const TrainedLayer& weights = network_.layers[static_cast<size_t>(layer)];
    for (const TrainedMatrix* matrix :
         {&weights.qkv, &weights.out, &weights.gate_up, &weights.down}) {
      for (const LoraBranch& branch : matrix->branches) {
        const auto projection = static_cast<Projection>(branch.dropout_stream % kNProjections);
        AdapterModule& module = adapter.modules().at({layer, projection});
        present.insert({layer, projection});
        const auto fetch = [&](const ConstTensorView& view, int64_t n_rotated_heads) {
          Parameter parameter;
          parameter.value = TensorView(const_cast<void*>(view.data), DType::f32,  // only read
                                       {view.shape[0], view.shape[1]});
          parameter.n_rotated_heads = n_rotated_heads;
          return download(parameter, stream);
        };
        const int64_t n_heads = projection == Projection::q   ? config_.n_heads
                                : projection == Projection::k ? config_.n_kv_heads
                                                              : 0;
        module.a = fetch(branch.a, 0);
        module.b = fetch(branch.b, n_heads);
      }
    }
  }
  std::erase_if(adapter.modules(),
                [&present](const auto& entry) { return !present.contains(entry.first); });
  return adapter;
}

}  // namespace okapi
