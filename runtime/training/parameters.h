// The weights of a model in training, in backend memory: f32 masters of what changes, gradients and
// the optimizer's moments beside them, and what does not change laid out as for inference.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/training.h"
#include "runtime/base/cancel.h"
#include "runtime/device/tensor.h"
#include "runtime/model/adapter.h"
#include "runtime/model/model_config.h"
#include "runtime/model/training_network.h"
#include "runtime/model/weights.h"

namespace okapi {

/// A tensor that changes. It is contiguous, and may be some rows of a fused matrix.
struct Parameter {
  std::string name;  ///< as checkpoints name it, and peft for an adapter's
  std::vector<int64_t> shape;
  bool is_adapter = false;
  int64_t n_rotated_heads = 0;  ///< rows stand in the kernels' pair layout; 0: not rotated
  TensorView value;             ///< f32
  TensorView gradient;          ///< f32
  Tensor first_moment;          ///< f32, of Adam
  Tensor second_moment;

  int64_t count() const { return value.count(); }
};

/// Memory by what it is for.
struct ParameterBytes {
  uint64_t frozen = 0;    ///< weights that do not change, as kept for products
  uint64_t masters = 0;   ///< f32 values of what changes, and frozen rows fused with them
  uint64_t prepared = 0;  ///< what a backend keeps besides the masters for products
  uint64_t gradients = 0;
  uint64_t moments = 0;
  uint64_t total() const { return frozen + masters + prepared + gradients + moments; }
};

struct ParameterOptions {
  std::vector<std::string> trained;  ///< words and patterns, see parameter_filter.h
  DType activations = DType::f32;    ///< what products with the weights are computed in
  std::optional<DType> base_dtype;   ///< of frozen matrices; none: bf16 if the embedding is, or the
                                     ///< activations are
  PairLayout pair_layout = PairLayout::half_split;  ///< of the source's q and k
  const Adapter* adapter = nullptr;                 ///< borrowed for the call
  const CancelToken* cancel = nullptr;
};

class Parameters {
 public:
  /// Throws invalid_argument when the words select no tensor, or one of them selects none.
  Parameters(std::shared_ptr<Backend> backend, ModelConfig config, const WeightSource& source,
             const ParameterOptions& options, TrainingStream& stream);

  const TrainedNetwork& network() const { return network_; }
  std::vector<Parameter>& trained() { return trained_; }
  const std::vector<Parameter>& trained() const { return trained_; }
  Parameter* find(const std::string& name);

  void zero_gradients(TrainingStream& stream);
  void zero_moments(TrainingStream& stream);
  void refresh(TrainingStream& stream);  ///< after values changed

  bool has_adapter() const { return adapter_shape_.has_value(); }
  bool trains_base() const;  ///< whether any tensor of the model itself changes

  /// The value as a checkpoint holds it: f32, in the source's pair layout.
  HostTensor download(const Parameter& parameter, TrainingStream& stream) const {
    return download(parameter.value, parameter.n_rotated_heads, stream);
  }
  /// The same of anything whose rows stand as a value's do, such as its gradient; with 0 heads as
  /// it stands.
  HostTensor download(ConstTensorView values, int64_t n_rotated_heads,
                      TrainingStream& stream) const;
  /// The other way round.
  void upload(Parameter& parameter, ConstTensorView host, TrainingStream& stream) {
    upload(parameter.value, parameter.n_rotated_heads, host, stream);
  }

  Adapter adapter(TrainingStream& stream) const;  ///< as it is now
  const ParameterBytes& bytes() const { return bytes_; }
  uint64_t n_trained() const;
  const ModelConfig& config() const { return config_; }

 private:
  /// A tensor of the source or of the adapter; some rows of a matrix where that is fused.
  struct Block {
    std::string name;
    int64_t n_rotated_heads = 0;
  };
  /// A tensor on the device.
  struct Placed {
    TensorView value;
    TensorView gradient;  ///< empty: frozen
  };
  /// A fused matrix and its gradient.
  struct Matrix {
    Tensor master;    ///< empty: frozen
    Tensor gradient;  ///< likewise
    std::shared_ptr<PreparedWeight> weight;
  };

  TrainedMatrix add_matrix(const std::vector<Block>& blocks);
  void fill_trained(Matrix& matrix, const std::vector<Block>& blocks,
                    const std::vector<LentTensor>& lent);
  void fill_frozen(Matrix& matrix, std::vector<LentTensor> lent);
  /// One that is not fused: to the device, with a gradient if a word selects it.
  Placed add_tensor(const Block& block, bool is_adapter, ConstTensorView host);
  TrainedNorm add_norm(const std::string& name);
  void add_branches(int64_t layer, TrainedLayer& weights);
  LoraBranch add_branch(int64_t layer, Projection projection, int64_t first_column);
  LentTensor lend(const Block& block) const;
  bool is_permuted(int64_t n_rotated_heads) const;
  HostTensor in_kernel_layout(ConstTensorView rows, int64_t n_rotated_heads) const;
  void upload(TensorView to, int64_t n_rotated_heads, ConstTensorView host,
              TrainingStream& stream) const;
  void add_parameter(const std::string& name, std::vector<int64_t> shape, bool is_adapter,
                     int64_t n_rotated_heads, TensorView value, TensorView gradient);
  bool selects(const std::string& name, bool is_adapter);
  Tensor make(DType dtype, std::initializer_list<int64_t> shape, uint64_t& bytes);
  Tensor& keep_new(const ConstTensorView& shaped_as, uint64_t& bytes);  ///< f32, in tensors_
  void check_words() const;

  std::shared_ptr<Backend> backend_;
  ModelConfig config_;
  PairLayout pair_layout_;
  DType activations_ = DType::f32;
  DType keep_ = DType::f32;
  std::optional<AdapterShape> adapter_shape_;

  // Of the constructor's call.
  const WeightSource* source_ = nullptr;
  const ParameterOptions* options_ = nullptr;
  TrainingStream* stream_ = nullptr;
  std::vector<bool> word_selects_;

  std::vector<std::unique_ptr<Matrix>> matrices_;
  std::vector<std::unique_ptr<Tensor>> tensors_;  ///< norms, adapters and their gradients
  std::vector<Parameter> trained_;
  TrainedNetwork network_;
  ParameterBytes bytes_;
};

}  // namespace okapi
