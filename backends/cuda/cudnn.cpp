#include "backends/cuda/cudnn.h"

#include "backends/cuda/checks.h"
#include "backends/cuda/libraries.h"

#ifdef OKAPI_WITH_CUDNN

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include <vector>

// The headers look functions up in this handle.
namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace okapi::cuda {

namespace fe = cudnn_frontend;

namespace {

using TensorPointer = std::shared_ptr<fe::graph::Tensor_attributes>;
using GraphPointer = std::shared_ptr<fe::graph::Graph>;

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

struct Layout {
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
  fe::DataType_t type = fe::DataType_t::BFLOAT16;
};

/// [n_sequences, heads, rows, D] where rows and heads lie so many elements apart.
Layout layout_of(int64_t n_sequences, int64_t heads, int64_t rows, int64_t d, int64_t head_stride,
                 int64_t row_stride) {
  return {{n_sequences, heads, rows, d}, {rows * row_stride, head_stride, row_stride, 1}};
}

GraphPointer empty_graph() {
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  return graph;
}

TensorPointer input(fe::graph::Graph& graph, Tensor id, const char* name, const Layout& layout) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_name(name)
                          .set_uid(id)
                          .set_data_type(layout.type)
                          .set_dim(layout.dims)
                          .set_stride(layout.strides));
}

void output(const TensorPointer& tensor, Tensor id, const Layout& layout) {
  tensor->set_output(true)
      .set_uid(id)
      .set_data_type(layout.type)
      .set_dim(layout.dims)
      .set_stride(layout.strides);
}

/// Attributes of either direction: the last query sees all keys, the others none that lies after
/// them.
template <typename Attributes>
Attributes causal(const char* name, float scale, bool as_many_keys) {
  Attributes attributes;
  attributes.set_name(name)
      .set_attn_scale(scale)
      .set_diagonal_alignment(as_many_keys ? fe::DiagonalAlignment_t::TOP_LEFT
                                           : fe::DiagonalAlignment_t::BOTTOM_RIGHT)
      .set_diagonal_band_right_bound(0);
  return attributes;
}

GraphPointer graph_of(const AttentionShape& s) {
  GraphPointer graph = empty_graph();
  const int64_t d = s.head_dim;
  const Layout stored = layout_of(1, s.n_kv_heads, s.n_keys, d, s.head_stride, s.key_stride);
  auto q = input(*graph, kQueries, "q", layout_of(1, s.n_heads, s.n_queries, d, d, s.query_stride));
  auto k = input(*graph, kKeys, "k", stored);
  auto v = input(*graph, kValues, "v", stored);
  auto attributes =
      causal<fe::graph::SDPA_attributes>("attention", s.scale, s.n_queries == s.n_keys);
  attributes.set_generate_stats(false);
  auto [out, log_sums] = graph->sdpa(q, k, v, attributes);
  output(out, kOut, layout_of(1, s.n_heads, s.n_queries, d, d, s.out_stride));
  return graph;
}

GraphPointer graph_of(const TrainedAttention& s) {
  GraphPointer graph = empty_graph();
  const auto rows = [&](int64_t heads, int64_t stride) {
    return layout_of(s.n_sequences, heads, s.n_tokens, s.head_dim, s.head_dim, stride);
  };
  const Layout sums = {{s.n_sequences, s.n_heads, s.n_tokens, 1},
                       {s.n_heads * s.n_tokens, s.n_tokens, 1, 1},
                       fe::DataType_t::FLOAT};
  auto q = input(*graph, kQueries, "q", rows(s.n_heads, s.row_stride));
  auto k = input(*graph, kKeys, "k", rows(s.n_kv_heads, s.row_stride));
  auto v = input(*graph, kValues, "v", rows(s.n_kv_heads, s.row_stride));
  if (!s.is_backward()) {
    auto attributes = causal<fe::graph::SDPA_attributes>("attention", s.scale, true);
    attributes.set_generate_stats(true);
    auto [out, log_sums] = graph->sdpa(q, k, v, attributes);
    output(out, kOut, rows(s.n_heads, s.out_stride));
    output(log_sums, kLogSums, sums);
    return graph;
  }
  auto out = input(*graph, kOut, "out", rows(s.n_heads, s.out_stride));
  auto out_gradient = input(*graph, kOutGradient, "out_gradient", rows(s.n_heads, s.out_stride));
  auto log_sums = input(*graph, kLogSums, "log_sums", sums);
  auto attributes =
      causal<fe::graph::SDPA_backward_attributes>("attention_backward", s.scale, true);
  attributes.set_deterministic_algorithm(s.in_fixed_order);
  auto [dq, dk, dv] = graph->sdpa_backward(q, k, v, out, out_gradient, log_sums, attributes);
  output(dq, kQueryGradient, rows(s.n_heads, s.gradient_stride));
  output(dk, kKeyGradient, rows(s.n_kv_heads, s.gradient_stride));
  output(dv, kValueGradient, rows(s.n_kv_heads, s.gradient_stride));
  return graph;
}

constexpr size_t kMostPlans = 256;

/// Where the plan of such a shape is kept; null: there is none yet.
template <typename Plans, typename Key>
auto& place_in(Plans& plans, const Key& key) {
  if (plans.size() > kMostPlans) plans.clear();
  return plans[key];
}

void check_cudnn(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw BackendError(std::string("cuDNN: ") + what + " failed with status " +
                     std::to_string(static_cast<int>(status)));
}

}  // namespace

struct Cudnn::Plan {
  Plan(const GraphPointer& made_of, void* handle) {
    if (!made_of->build(static_cast<cudnnHandle_t>(handle), {fe::HeurMode_t::A}).is_good()) return;
    workspace_bytes = made_of->get_workspace_size();
    graph = made_of;
  }

  GraphPointer graph;  ///< null: the library has no kernel for it
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

Cudnn::Plan& Cudnn::plan(const AttentionShape& shape) {
  std::unique_ptr<Plan>& known = place_in(plans_, shape.key());
  if (!known) known = std::make_unique<Plan>(graph_of(shape), handle_);
  return *known;
}

Cudnn::Plan& Cudnn::plan(const TrainedAttention& shape) {
  std::unique_ptr<Plan>& known = place_in(trained_plans_, shape.key());
  if (!known) known = std::make_unique<Plan>(graph_of(shape), handle_);
  return *known;
}

int64_t Cudnn::workspace_bytes(const AttentionShape& shape) {
  const std::lock_guard lock(mutex_);
  return plan(shape).workspace_bytes;
}

int64_t Cudnn::workspace_bytes(const TrainedAttention& shape) {
  const std::lock_guard lock(mutex_);
  return plan(shape).workspace_bytes;
}

namespace {

/// The library takes what it only reads as void* too.
void* pointer(const void* memory) { return const_cast<void*>(memory); }

}  // namespace

void Cudnn::attend(const AttentionShape& shape, const QkvRows& qkv, void* out, void* workspace,
                   cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  std::unordered_map<int64_t, void*> tensors = {{kQueries, pointer(qkv.queries)},
                                                {kKeys, pointer(qkv.keys)},
                                                {kValues, pointer(qkv.values)},
                                                {kOut, out}};
  execute(plan(shape), tensors, workspace, stream);
}

void Cudnn::attend(const TrainedAttention& shape, const QkvRows& qkv, void* out, float* log_sums,
                   void* workspace, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  std::unordered_map<int64_t, void*> tensors = {{kQueries, pointer(qkv.queries)},
                                                {kKeys, pointer(qkv.keys)},
                                                {kValues, pointer(qkv.values)},
                                                {kOut, out},
                                                {kLogSums, log_sums}};
  execute(plan(shape), tensors, workspace, stream);
}

void Cudnn::attend_backward(const TrainedAttention& shape, const QkvRows& qkv, const void* out,
                            const float* log_sums, const void* out_gradient,
                            const QkvRows& qkv_gradient, void* workspace, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  std::unordered_map<int64_t, void*> tensors = {{kQueries, pointer(qkv.queries)},
                                                {kKeys, pointer(qkv.keys)},
                                                {kValues, pointer(qkv.values)},
                                                {kOut, pointer(out)},
                                                {kLogSums, pointer(log_sums)},
                                                {kOutGradient, pointer(out_gradient)},
                                                {kQueryGradient, pointer(qkv_gradient.queries)},
                                                {kKeyGradient, pointer(qkv_gradient.keys)},
                                                {kValueGradient, pointer(qkv_gradient.values)}};
  execute(plan(shape), tensors, workspace, stream);
}

void Cudnn::execute(Plan& plan, std::unordered_map<int64_t, void*>& tensors, void* workspace,
                    cudaStream_t stream) {
  auto* const handle = static_cast<cudnnHandle_t>(handle_);
  check_cudnn(fe::detail::set_stream(handle, stream), "cudnnSetStream");
  auto status = plan.graph->execute(handle, tensors, workspace);
  if (!status.is_good()) throw BackendError("cuDNN: " + status.get_message());
}

}  // namespace okapi::cuda

#else

namespace okapi::cuda {

struct Cudnn::Plan {};

Cudnn::Cudnn() { throw BackendError("this build has not its headers"); }
Cudnn::~Cudnn() = default;
std::string Cudnn::version() const { return "none"; }
Cudnn::Plan& Cudnn::plan(const AttentionShape& shape) { return *plans_.at(shape.key()); }
Cudnn::Plan& Cudnn::plan(const TrainedAttention& shape) { return *trained_plans_.at(shape.key()); }
int64_t Cudnn::workspace_bytes(const AttentionShape& /*shape*/) { return -1; }
int64_t Cudnn::workspace_bytes(const TrainedAttention& /*shape*/) { return -1; }
void Cudnn::attend(const AttentionShape& /*shape*/, const QkvRows& /*qkv*/, void* /*out*/,
                   void* /*workspace*/, cudaStream_t /*stream*/) {}
void Cudnn::attend(const TrainedAttention& /*shape*/, const QkvRows& /*qkv*/, void* /*out*/,
                   float* /*log_sums*/, void* /*workspace*/, cudaStream_t /*stream*/) {}
void Cudnn::attend_backward(const TrainedAttention& /*shape*/, const QkvRows& /*qkv*/,
                            const void* /*out*/, const float* /*log_sums*/,
                            const void* /*out_gradient*/, const QkvRows& /*qkv_gradient*/,
                            void* /*workspace*/, cudaStream_t /*stream*/) {}
void Cudnn::execute(Plan& /*plan*/, std::unordered_map<int64_t, void*>& /*tensors*/,
                    void* /*workspace*/, cudaStream_t /*stream*/) {}

}  // namespace okapi::cuda

#endif
