#include "backends/cuda/cudnn.h"

#include "backends/cuda/checks.h"
#include "backends/cuda/libraries.h"

#ifdef OKAPI_WITH_CUDNN

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include <array>
#include <vector>

// The headers look functions up in this handle.
namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace okapi::cuda {

namespace fe = cudnn_frontend;

namespace {

enum Tensor : int64_t {
  kQueries = 1,
  kKeys,
  kValues,
  kOut,
  kLogSums,
  kOutGradient,
  kQueryGradient,
  kKeyGradient,
  kValueGradient
};

/// [1, heads, rows, D] where consecutive rows and heads lie so many elements apart.
std::shared_ptr<fe::graph::Tensor_attributes> tensor(fe::graph::Graph& graph, Tensor id,
                                                     const char* name, int64_t heads, int64_t rows,
                                                     int64_t d, int64_t head_stride,
                                                     int64_t row_stride) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_name(name)
                          .set_uid(id)
                          .set_dim({1, heads, rows, d})
                          .set_stride({rows * row_stride, head_stride, row_stride, 1}));
}

constexpr size_t kMostPlans = 256;

void check_cudnn(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw BackendError(std::string("cuDNN: ") + what + " failed with status " +
                     std::to_string(static_cast<int>(status)));
}

}  // namespace

struct Cudnn::Plan {
  std::shared_ptr<fe::graph::Graph> graph;  ///< null: the library has no kernel for it
  int64_t workspace_bytes = -1;
};

Cudnn::Cudnn() {
  const Library library("libcudnn.so.9");
  // The headers open the CUDA runtime by its bare name: once it is open, that finds it.
  const std::string runtime_name = "libcudart.so." + std::to_string(CUDART_VERSION / 1000);
  const Library runtime(runtime_name.c_str());
  fe::cudnn_dlhandle = library.handle();
  cudnnHandle_t handle = nullptr;
  try {
    check_cudnn(fe::detail::create_handle(&handle), "cudnnCreate");
  } catch (const std::runtime_error& e) {  // the headers' own, when a symbol or library is missing
    throw BackendError(e.what());
  }
  handle_ = handle;
}

Cudnn::~Cudnn() {
  plans_.clear();
  trained_plans_.clear();
  static_cast<void>(fe::detail::destroy_handle(static_cast<cudnnHandle_t>(handle_)));
}

std::string Cudnn::version() const {
  const size_t v = fe::detail::get_backend_version();
  return "cuDNN " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
         std::to_string(v % 100);
}

Cudnn::Plan& Cudnn::plan(const AttentionShape& s) {
  if (plans_.size() > kMostPlans) plans_.clear();
  std::unique_ptr<Plan>& known = plans_[s.key()];
  if (known) return *known;
  known = std::make_unique<Plan>();

  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const int64_t d = s.head_dim;
  auto q = tensor(*graph, kQueries, "q", s.n_heads, s.n_queries, d, d, s.query_stride);
  auto k = tensor(*graph, kKeys, "k", s.n_kv_heads, s.n_keys, d, s.head_stride, s.key_stride);
  auto v = tensor(*graph, kValues, "v", s.n_kv_heads, s.n_keys, d, s.head_stride, s.key_stride);
  auto attributes =
      fe::graph::SDPA_attributes()
          .set_name("attention")
          .set_generate_stats(false)
          .set_attn_scale(s.scale)
          .set_diagonal_alignment(s.n_queries == s.n_keys ? fe::DiagonalAlignment_t::TOP_LEFT
                                                          : fe::DiagonalAlignment_t::BOTTOM_RIGHT)
          .set_diagonal_band_right_bound(0);
  auto [out, stats] = graph->sdpa(q, k, v, attributes);
  out->set_output(true)
      .set_uid(kOut)
      .set_dim({1, s.n_heads, s.n_queries, d})
      .set_stride({s.n_queries * s.out_stride, d, s.out_stride, 1});
  if (graph->build(static_cast<cudnnHandle_t>(handle_), {fe::HeurMode_t::A}).is_good()) {
    known->workspace_bytes = graph->get_workspace_size();
    known->graph = std::move(graph);
  }
  return *known;
}

int64_t Cudnn::workspace_bytes(const AttentionShape& shape) {
  const std::lock_guard lock(mutex_);
  return plan(shape).workspace_bytes;
}

void Cudnn::attend(const AttentionShape& shape, const void* queries, const void* keys,
                   const void* values, void* out, void* workspace, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  std::unordered_map<int64_t, void*> tensors = {{kQueries, const_cast<void*>(queries)},
                                                {kKeys, const_cast<void*>(keys)},
                                                {kValues, const_cast<void*>(values)},
                                                {kOut, out}};
  execute(plan(shape), tensors, workspace, stream);
}

void Cudnn::execute(Plan& plan, std::unordered_map<int64_t, void*>& tensors, void* workspace,
                    cudaStream_t stream) {
  auto* const handle = static_cast<cudnnHandle_t>(handle_);
  check_cudnn(fe::detail::set_stream(handle, stream), "cudnnSetStream");
  auto status = plan.graph->execute(handle, tensors, workspace);
  if (!status.is_good()) throw BackendError("cuDNN: " + status.get_message());
}

Cudnn::Plan& Cudnn::plan(const TrainedAttention& s) {
  if (trained_plans_.size() > kMostPlans) trained_plans_.clear();
  std::unique_ptr<Plan>& known = trained_plans_[s.key()];
  if (known) return *known;
  known = std::make_unique<Plan>();

  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const int64_t d = s.head_dim;
  const auto dims = [&](int64_t heads) {
    return std::vector<int64_t>{s.n_sequences, heads, s.n_tokens, d};
  };
  const auto strides = [&](int64_t row_stride) {
    return std::vector<int64_t>{s.n_tokens * row_stride, d, row_stride, 1};
  };
  const auto input = [&](Tensor id, const char* name, int64_t heads, int64_t row_stride) {
    return graph->tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_uid(id)
                             .set_dim(dims(heads))
                             .set_stride(strides(row_stride)));
  };
  const auto output = [&](const std::shared_ptr<fe::graph::Tensor_attributes>& tensor, Tensor id,
                          int64_t heads, int64_t row_stride) {
    tensor->set_output(true).set_uid(id).set_dim(dims(heads)).set_stride(strides(row_stride));
  };
  const std::vector<int64_t> sums_dims = {s.n_sequences, s.n_heads, s.n_tokens, 1};
  const std::vector<int64_t> sums_strides = {s.n_heads * s.n_tokens, s.n_tokens, 1, 1};
  auto q = input(kQueries, "q", s.n_heads, s.row_stride);
  auto k = input(kKeys, "k", s.n_kv_heads, s.row_stride);
  auto v = input(kValues, "v", s.n_kv_heads, s.row_stride);
  if (!s.is_backward()) {
    auto [out, log_sums] =
        graph->sdpa(q, k, v,
                    fe::graph::SDPA_attributes()
                        .set_name("attention")
                        .set_generate_stats(true)
                        .set_attn_scale(s.scale)
                        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                        .set_diagonal_band_right_bound(0));
    output(out, kOut, s.n_heads, s.out_stride);
    log_sums->set_output(true)
        .set_uid(kLogSums)
        .set_data_type(fe::DataType_t::FLOAT)
        .set_dim(sums_dims)
        .set_stride(sums_strides);
  } else {
    auto out = input(kOut, "out", s.n_heads, s.out_stride);
    auto out_gradient = input(kOutGradient, "out_gradient", s.n_heads, s.out_stride);
    auto log_sums = graph->tensor(fe::graph::Tensor_attributes()
                                      .set_name("log_sums")
                                      .set_uid(kLogSums)
                                      .set_data_type(fe::DataType_t::FLOAT)
                                      .set_dim(sums_dims)
                                      .set_stride(sums_strides));
    auto [dq, dk, dv] =
        graph->sdpa_backward(q, k, v, out, out_gradient, log_sums,
                             fe::graph::SDPA_backward_attributes()
                                 .set_name("attention_backward")
                                 .set_attn_scale(s.scale)
                                 .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                                 .set_diagonal_band_right_bound(0));
    output(dq, kQueryGradient, s.n_heads, s.gradient_stride);
    output(dk, kKeyGradient, s.n_kv_heads, s.gradient_stride);
    output(dv, kValueGradient, s.n_kv_heads, s.gradient_stride);
  }
  if (graph->build(static_cast<cudnnHandle_t>(handle_), {fe::HeurMode_t::A}).is_good()) {
    known->workspace_bytes = graph->get_workspace_size();
    known->graph = std::move(graph);
  }
  return *known;
}

int64_t Cudnn::workspace_bytes(const TrainedAttention& shape) {
  const std::lock_guard lock(mutex_);
  return plan(shape).workspace_bytes;
}

namespace {

/// Addresses of q, k and v in the first of such rows.
std::array<void*, 3> parts_of(const TrainedAttention& shape, const void* rows) {
  auto* const q = static_cast<uint16_t*>(const_cast<void*>(rows));
  uint16_t* const k = q + shape.n_heads * shape.head_dim;
  return {q, k, k + shape.n_kv_heads * shape.head_dim};
}

}  // namespace

void Cudnn::attend(const TrainedAttention& shape, const void* qkv, void* out, float* log_sums,
                   void* workspace, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  const auto [q, k, v] = parts_of(shape, qkv);
  std::unordered_map<int64_t, void*> tensors = {
      {kQueries, q}, {kKeys, k}, {kValues, v}, {kOut, out}, {kLogSums, log_sums}};
  execute(plan(shape), tensors, workspace, stream);
}

void Cudnn::attend_backward(const TrainedAttention& shape, const void* qkv, const void* out,
                            const float* log_sums, const void* out_gradient, void* qkv_gradient,
                            void* workspace, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  const auto [q, k, v] = parts_of(shape, qkv);
  const auto [dq, dk, dv] = parts_of(shape, qkv_gradient);
  std::unordered_map<int64_t, void*> tensors = {{kQueries, q},
                                                {kKeys, k},
                                                {kValues, v},
                                                {kOut, const_cast<void*>(out)},
                                                {kLogSums, const_cast<float*>(log_sums)},
                                                {kOutGradient, const_cast<void*>(out_gradient)},
                                                {kQueryGradient, dq},
                                                {kKeyGradient, dk},
                                                {kValueGradient, dv}};
  execute(plan(shape), tensors, workspace, stream);
}

}  // namespace okapi::cuda

#else

namespace okapi::cuda {

struct Cudnn::Plan {};

Cudnn::Cudnn() { throw BackendError("this build has not its headers"); }
Cudnn::~Cudnn() = default;
std::string Cudnn::version() const { return "none"; }
Cudnn::Plan& Cudnn::plan(const AttentionShape& shape) { return *plans_.at(shape.key()); }
int64_t Cudnn::workspace_bytes(const AttentionShape& /*shape*/) { return -1; }
void Cudnn::attend(const AttentionShape& /*shape*/, const void* /*queries*/, const void* /*keys*/,
                   const void* /*values*/, void* /*out*/, void* /*workspace*/,
                   cudaStream_t /*stream*/) {}
Cudnn::Plan& Cudnn::plan(const TrainedAttention& shape) { return *trained_plans_.at(shape.key()); }
int64_t Cudnn::workspace_bytes(const TrainedAttention& /*shape*/) { return -1; }
void Cudnn::attend(const TrainedAttention& /*shape*/, const void* /*qkv*/, void* /*out*/,
                   float* /*log_sums*/, void* /*workspace*/, cudaStream_t /*stream*/) {}
void Cudnn::attend_backward(const TrainedAttention& /*shape*/, const void* /*qkv*/,
                            const void* /*out*/, const float* /*log_sums*/,
                            const void* /*out_gradient*/, void* /*qkv_gradient*/,
                            void* /*workspace*/, cudaStream_t /*stream*/) {}
void Cudnn::execute(Plan& /*plan*/, std::unordered_map<int64_t, void*>& /*tensors*/,
                    void* /*workspace*/, cudaStream_t /*stream*/) {}

}  // namespace okapi::cuda

#endif
