#include "runtime/training/parameters.h"

#include <algorithm>
#include <map>
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
  if (is_permuted(block.n_rotated_heads)) {
    HostTensor permuted = in_kernel_layout(lent.view, block.n_rotated_heads);
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

Tensor& Parameters::keep_new(const ConstTensorView& shaped_as, uint64_t& bytes) {
  tensors_.push_back(std::make_unique<Tensor>(
      shaped_as.rank == 1 ? make(DType::f32, {shaped_as.shape[0]}, bytes)
                          : make(DType::f32, {shaped_as.shape[0], shaped_as.shape[1]}, bytes)));
  return *tensors_.back();
}

Parameters::Placed Parameters::add_tensor(const Block& block, bool is_adapter,
                                          ConstTensorView host) {
  const bool is_trained = selects(block.name, is_adapter);
  Placed placed;
  placed.value = keep_new(host, is_trained ? bytes_.masters : bytes_.frozen).view();
  upload(placed.value, block.n_rotated_heads, host, *stream_);
  if (is_trained) {
    placed.gradient = keep_new(host, bytes_.gradients).view();
    add_parameter(block.name, {host.shape, host.shape + host.rank}, is_adapter,
                  block.n_rotated_heads, placed.value, placed.gradient);
  }
  return placed;
}

TrainedNorm Parameters::add_norm(const std::string& name) {
  const LentTensor lent = (*source_)(name);
  const HostTensor values = converted(lent.view, DType::f32);
  const Placed placed = add_tensor({name}, /*is_adapter=*/false, values.view());
  return {placed.value, placed.gradient};
}

void Parameters::add_branches(int64_t layer, TrainedLayer& weights) {
  if (options_->adapter == nullptr) return;
  for (const Projection projection : kProjections) {
    if (options_->adapter->find(layer, projection) == nullptr) continue;
    const ProjectionPlace place = projection_place(config_, projection);
    matrix_of(weights, place.matrix)
        .branches.push_back(add_branch(layer, projection, place.first_column));
  }
}

LoraBranch Parameters::add_branch(int64_t layer, Projection projection, int64_t first_column) {
  const Adapter::Key key(layer, projection);
  const AdapterModule& module = *options_->adapter->find(layer, projection);
  const Placed a =
      add_tensor({adapter_tensor_name(key, 'A')}, /*is_adapter=*/true, module.a.view());
  const Placed b = add_tensor({adapter_tensor_name(key, 'B'), n_rotated_heads(config_, projection)},
                              /*is_adapter=*/true, module.b.view());
  LoraBranch branch;
  branch.first_column = first_column;
  branch.a = a.value;
  branch.b = b.value;
  branch.a_gradient = a.gradient;
  branch.b_gradient = b.gradient;
  branch.scale = static_cast<float>(adapter_shape_->scale());
  branch.dropout = static_cast<float>(adapter_shape_->dropout);
  branch.dropout_stream =
      static_cast<uint64_t>(layer) * kNProjections + static_cast<uint64_t>(projection);
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

bool Parameters::is_permuted(int64_t n_heads) const {
  return n_heads > 0 && pair_layout_ != kKernelLayout;
}

HostTensor Parameters::in_kernel_layout(ConstTensorView rows, int64_t n_heads) const {
  return permute_pairs(rows, n_heads, config_.head_dim, pair_layout_, kKernelLayout);
}

HostTensor Parameters::download(ConstTensorView values, int64_t n_heads,
                                TrainingStream& stream) const {
  HostTensor host = values.rank == 1 ? HostTensor(DType::f32, {values.shape[0]})
                                     : HostTensor(DType::f32, {values.shape[0], values.shape[1]});
  stream.download(host.view().data, values.data, bytes_of(values));
  stream.synchronize();
  if (!is_permuted(n_heads)) return host;
  return permute_pairs(std::as_const(host).view(), n_heads, config_.head_dim, kKernelLayout,
                       pair_layout_);
}

void Parameters::upload(TensorView to, int64_t n_heads, ConstTensorView host,
                        TrainingStream& stream) const {
  HostTensor permuted;
  if (is_permuted(n_heads)) {
    permuted = in_kernel_layout(host, n_heads);
    host = std::as_const(permuted).view();
  }
  stream.upload(to.data, host.data, bytes_of(host));
  stream.synchronize();  // before the host's values go
}

Adapter Parameters::adapter(TrainingStream& stream) const {
  std::map<Adapter::Key, AdapterModule> modules;
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    const TrainedLayer& weights = network_.layers[static_cast<size_t>(layer)];
    for (const Projection projection : kProjections) {
      const ProjectionPlace place = projection_place(config_, projection);
      const std::vector<LoraBranch>& branches = matrix_of(weights, place.matrix).branches;
      const auto branch = std::find_if(
          branches.begin(), branches.end(),
          [&](const LoraBranch& item) { return item.first_column == place.first_column; });
      if (branch == branches.end()) continue;  // an adapter may leave layers out
      AdapterModule& module = modules[{layer, projection}];
      module.a = download(branch->a, 0, stream);
      module.b = download(branch->b, n_rotated_heads(config_, projection), stream);
    }
  }
  return Adapter::of(config_, *adapter_shape_, std::move(modules));
}

}  // namespace okapi
