// The one interface between the engine and the hardware: memory, weights, and the tensor
// operations a Llama forward pass is made of.
//
// A Backend is one opened device; a Stream is an ordered queue of operations on it with its own
// scratch memory. Operations may return before the device has finished; synchronize() waits.
// Shapes use the letters of the house style: T tokens in this call (all sequences concatenated),
// C d_model, F d_ff, V vocab_size, H query heads, K key/value heads, D head_dim, S keys so far.
//
// A backend lives in a module of its own, opened at run time, and is built together with the
// runtime that opens it: this is a C++ interface without any promise between builds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "backends/tensor_view.h"

namespace okapi {

/// What a backend throws when the device or its library fails. Running out of memory is
/// std::bad_alloc.
class BackendError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A matrix [N, K] the backend has laid out for its own products. Opaque, immutable.
class PreparedWeight {
 public:
  virtual ~PreparedWeight() = default;
  int64_t rows = 0;          ///< N, output features
  int64_t columns = 0;       ///< K, input features
  DType dtype = DType::f32;  ///< as kept in memory
  size_t bytes = 0;          ///< memory it occupies
};

/// Rotation factors of a run of positions: f32 [n_rows, D/2] each, row r for the r-th position.
/// Everything a scheme says about a position is folded in: the angle, the rotation gain, the
/// magnitude. Pair i of a head is (x[i], x[i + D/2]): (x cos - y sin, y cos + x sin).
struct RotaryView {
  ConstTensorView cos;
  ConstTensorView sin;
  bool empty() const { return cos.empty(); }
};

/// How keys and values lie in a page: k then v, each [K, page_tokens, D] of `dtype`, per layer.
struct KvLayout {
  int64_t n_layers = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t page_tokens = 0;
  DType dtype = DType::f32;

  size_t half_bytes() const {  ///< the keys, or the values, of one layer in one page
    return static_cast<size_t>(n_kv_heads * page_tokens * head_dim) * size_of(dtype);
  }
  size_t layer_bytes() const { return 2 * half_bytes(); }
  size_t page_bytes() const { return static_cast<size_t>(n_layers) * layer_bytes(); }
};

/// One sequence of a ragged batch, as attention sees it. Query i stands at index n_cached + i and
/// sees the keys at indices 0 .. n_cached + i. `pages` [n_pages] are page addresses (backend
/// memory).
struct KvSequence {
  int64_t first_row = 0;  ///< of this sequence among the T rows of the call
  int64_t n_tokens = 0;   ///< queries in this call, at least 1
  int64_t n_cached = 0;   ///< keys already in the pages before this call
  void* const* pages = nullptr;
  int64_t n_pages = 0;        ///< enough for n_cached + n_tokens
  RotaryView query_rotation;  ///< n_tokens rows: positions n_cached .. n_cached + n_tokens - 1
  /// Rows to rotate this call's keys by before they are stored (cached rotated), or, when
  /// `keys_are_raw`, the n_cached + n_tokens rows to rotate all keys by as they are read.
  RotaryView key_rotation;
  bool keys_are_raw = false;
  float score_scale = 1.0F;  ///< multiplies q.k: 1 / (sqrt(D) * attention_temperature)
};

/// How a token is chosen from a row of logits. Of the finite logits whose id is not forbidden: the
/// largest, the lowest id on a tie, at temperature 0. Otherwise top_k keeps the largest (the lower
/// ids on a tie), top_p the fewest of these, largest first, that have this share of their weight,
/// and `draw` picks: what remains lies side by side in the order of ids, each as wide as its weight
/// exp((logit - largest) / temperature), which is rounded to whole multiples of 2^-44. Sums of
/// weights are therefore exact, in any order, on any device.
struct SampleRule {
  float temperature = 0;               ///< finite, at least 0
  float top_p = 1;                     ///< above 0, at most 1
  int64_t top_k = 0;                   ///< 0: all
  double draw = 0;                     ///< in [0, 1)
  std::span<const int32_t> forbidden;  ///< host memory
};

/// Which product bench() times, see Backend::measure_matmul.
struct MatmulMeasurement {
  double gflops = 0;
  std::string kernel;  ///< the library's name for what ran
};

/// Of a device that has memory of its own.
struct DeviceMemory {
  uint64_t free = 0;        ///< bytes that allocate() could still give
  uint64_t most_taken = 0;  ///< by this backend at once, since it was opened
};

class Stream {
 public:
  virtual ~Stream() = default;

  /// Waits until everything queued has finished; reports what failed on the way.
  virtual void synchronize() = 0;

  /// Copies between host and backend memory, in the order of the queue.
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* device_to, const void* device_from, size_t bytes) = 0;

  /// out [T, C] = rows `ids` [T] (host memory) of the table [V, C].
  virtual void embed(const PreparedWeight& table, std::span<const int32_t> ids, TensorView out) = 0;

  /// residual [T, C] += delta (skipped when delta is empty); out [T, C] = residual / rms * weight
  /// [C] f32. A delta that linear() made right before may never be written: the product may go
  /// straight into the residual, rounded once.
  virtual void add_rms_norm(TensorView residual, ConstTensorView delta, ConstTensorView weight,
                            float epsilon, TensorView out) = 0;

  /// out [T, N] = x [T, K] times weight [N, K] transposed.
  virtual void linear(ConstTensorView x, const PreparedWeight& weight, TensorView out) = 0;

  /// Rotates the queries in `qkv` [T, (H + 2K) D] (q, then k, then v along the row) in place,
  /// rotates the keys unless they are kept raw, and stores keys and values into the pages of
  /// `layer`. Once attention() was called right after it, queries in `qkv` may lie there unrotated.
  virtual void rotate_and_store(TensorView qkv, int64_t n_heads, const KvLayout& layout,
                                int64_t layer, std::span<const KvSequence> sequences) = 0;

  /// out [T, H D] = causal attention of the queries in `qkv` over the pages of `layer`. Memory
  /// grows with the length of the longest sequence, never with its square.
  virtual void attention(ConstTensorView qkv, int64_t n_heads, const KvLayout& layout,
                         int64_t layer, std::span<const KvSequence> sequences, TensorView out) = 0;

  /// out [T, F] = silu(gate) * up, where gate_up [T, 2F] holds gate, then up along the row.
  virtual void swiglu(ConstTensorView gate_up, TensorView out) = 0;

  /// nll [T] f32 = -log softmax(hidden [T, C] times weight [V, C] transposed)[targets [T] (host)].
  /// A target of -1 gives 0. Computed in chunks of tokens and vocabulary: no [T, V] matrix.
  virtual void log_loss(ConstTensorView hidden, const PreparedWeight& weight,
                        std::span<const int32_t> targets, TensorView nll) = 0;

  /// rows [n, C] of `x` [T, C] by host indices, packed into out [n, C].
  virtual void gather_rows(ConstTensorView x, std::span<const int64_t> rows, TensorView out) = 0;

  /// ids [n] i32 = index of the largest element of each row of x [n, V], the lowest on a tie.
  virtual void argmax(ConstTensorView x, TensorView ids) = 0;

  /// ids [n] i32 chosen from each row of logits [n, V] f32 by its rule; -1 where no logit is left
  /// to choose. V is at most 2^19, so that sums of weights fit in 64 bits.
  virtual void sample(ConstTensorView logits, std::span<const SampleRule> rules,
                      TensorView ids) = 0;

  /// While on, calls of up to Backend::invariant_rows() rows give each row the same to the bit,
  /// whatever number of rows stand beside it. May cost speed.
  virtual void set_row_invariant(bool /*on*/) {}
};

inline constexpr int64_t kMostSampledLogits = int64_t{1} << 19;

class TrainingBackend;  // backends/training.h

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;    ///< "cpu", "cuda"
  virtual std::string device() const = 0;  ///< the chip and library versions, for reports

  /// Dtypes of activations and of the KV cache; f32 on the CPU.
  virtual DType activation_dtype() const = 0;
  virtual DType kv_dtype() const = 0;
  /// The same beside a model's weights of that dtype, where a backend computes as they are kept.
  virtual DType activation_dtype_beside(DType /*weights*/) const { return activation_dtype(); }
  virtual DType kv_dtype_beside(DType /*weights*/) const { return kv_dtype(); }

  /// Tokens per page that suit the attention kernel.
  virtual int64_t page_tokens() const = 0;

  /// Tokens of a prompt computed at once. The weights are read once per pass, so more make better
  /// use of them, and activations grow with their number: past this the products gain nothing more.
  virtual int64_t prefill_chunk() const { return 1024; }

  /// The most rows of a call among which a row's result does not depend on their number, on streams
  /// that were told so (Stream::set_row_invariant).
  virtual int64_t invariant_rows() const { return 1; }

  /// Device memory, aligned for any operation; contents undefined. Throws std::bad_alloc.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;

  /// The memory of a device that has its own; none: allocate() takes the machine's.
  virtual std::optional<DeviceMemory> device_memory() const { return std::nullopt; }

  /// Lays out the matrix whose rows are the row blocks one after another (q, k and v; gate and up),
  /// each [N_i, K] in host memory, f32, f16 or bf16. Copies: the blocks may go away afterwards.
  /// `keep` is the dtype to keep in memory: f32, or bf16 when every block is bf16.
  virtual std::unique_ptr<PreparedWeight> prepare_weight(
      std::span<const ConstTensorView> row_blocks, DType keep) = 0;

  virtual std::unique_ptr<Stream> create_stream() = 0;

  /// What training needs beyond this, see backends/training.h; null where the backend has none.
  virtual TrainingBackend* training() { return nullptr; }

  /// Ceilings of this device, measured now with this backend's thread limit: a product [m, k] x [k,
  /// n] with the weight laid out as the library likes best, and the rate at which `bytes` are read
  /// once.
  virtual MatmulMeasurement measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) = 0;
  virtual double measure_read_bandwidth(size_t bytes) = 0;  ///< bytes per second
};

struct BackendOptions {
  int n_threads = 0;  ///< most threads one call may use; 0: one per core
  int device_index = 0;
  /// A queue of the device (cudaStream_t) that the caller owns and all streams of the backend work
  /// on; null: each has its own. Work of several streams then goes there one after the other.
  void* device_stream = nullptr;
  /// One of the backend's sets of kernels by name, for tests; empty: the best here.
  std::string variant;
};

/// The one symbol a backend module exports, found by name: kBackendEntryName.
struct BackendEntry {
  const char* build_id;  ///< must equal the runtime's kBuildId
  Backend* (*create)(const BackendOptions& options);
};
inline constexpr const char* kBackendEntryName = "okapi_backend_entry";

}  // namespace okapi
