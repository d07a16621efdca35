// Many rows times bf16 weights: the weights are widened into panels, which are then multiplied.
//
// A panel holds kPanelColumns weight rows side by side, [K, kPanelColumns] f32: the lanes of a
// vector are outputs, an input is a broadcast scalar, and nothing of the inputs is repacked.
// Widening and turning happen in one pass, in the registers, so that panels cost no more than rows
// widened as they lie. Each output is a chain of multiply-adds along a slice of K, and the slices
// are added in their order.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

constexpr int kPanelVectors = kPanelColumns / kLanes;

// Input rows of a register tile: as many as leave room for the operands.
constexpr int kTileRows = kVectorBytes == 64 ? 12 : 6;

// Along K, as much of a panel as stays in the first cache while all input rows pass by.
constexpr int64_t kSlice = 256;

/// Lane numbers 0 to N - 1, to expand in an index list.
template <int... Lane>
struct Lanes {};
template <int N, int... Lane>
struct CountLanes : CountLanes<N - 1, N - 1, Lane...> {};
template <int... Lane>
struct CountLanes<0, Lane...> {
  using All = Lanes<Lane...>;
};

/// One step of a transposition: the lanes of `a` that have bit kBit set change places with those of
/// `b` that have not.
template <int kBit, int... Lane>
inline void exchange(Ints& a, Ints& b, Lanes<Lane...>) {
  const Ints lower = __builtin_shufflevector(a, b, (Lane & kBit ? kLanes + Lane - kBit : Lane)...);
  b = __builtin_shufflevector(a, b, (Lane & kBit ? kLanes + Lane : Lane + kBit)...);
  a = lower;
}

template <int kBit>
inline void transpose(Ints (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kBit) == 0) exchange<kBit>(rows[i], rows[i + kBit], CountLanes<kLanes>::All());
  }
  if constexpr (kBit > 1) transpose<kBit / 2>(rows);
}

/// kLanes rows by kLanes words of two elements each, see load_low().
inline void turn(const uint16_t* w, int64_t k, float* panel) {
  Ints words[kLanes];
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row) {
    words[row] = *reinterpret_cast<const WordPairs*>(w + row * k);
  }
  transpose<kLanes / 2>(words);
#pragma GCC unroll 16
  for (int word = 0; word < kLanes; ++word) {
    float* const low = panel + word * kPanelColumns;
    store(low, low_halves(words[word]));
    store(low + kPairing * kPanelColumns, high_halves(words[word]));
  }
}

/// out [R, kPanelColumns] = x [R, n] times the panel [n, kPanelColumns], or added to.
template <int R>
inline void rows(const float* x, int64_t ldx, const float* panel, int64_t n, bool adds, float* out,
                 int64_t ldo) {
  Floats acc[R][kPanelVectors] = {};
  for (int64_t i = 0; i < n; ++i) {
    Floats w[kPanelVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) w[v] = load(panel + i * kPanelColumns + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Floats input = broadcast(x[r * ldx + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) acc[r][v] += input * w[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      float* const to = out + r * ldo + v * kLanes;
      store(to, adds ? load(to) + acc[r][v] : acc[r][v]);
    }
  }
}

inline void slice(const float* x, int64_t ldx, int64_t m, const float* panel, int64_t n, bool adds,
                  float* out, int64_t ldo) {
  int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows) {
    rows<kTileRows>(x + i * ldx, ldx, panel, n, adds, out + i * ldo, ldo);
  }
  for (; i + 4 <= m; i += 4) rows<4>(x + i * ldx, ldx, panel, n, adds, out + i * ldo, ldo);
  for (; i < m; ++i) rows<1>(x + i * ldx, ldx, panel, n, adds, out + i * ldo, ldo);
}

}  // namespace

void widen_panel(const uint16_t* w, int64_t k, float* panel) {
  int64_t i = 0;
  for (; i + 2 * kPairing <= k; i += 2 * kPairing) {
    for (int row = 0; row < kPanelColumns; row += kLanes) {
      for (int word = 0; word < kPairing; word += kLanes) {
        turn(w + row * k + i + 2 * word, k, panel + (i + word) * kPanelColumns + row);
      }
    }
  }
  for (; i < k; ++i) {
    for (int row = 0; row < kPanelColumns; ++row) {
      panel[i * kPanelColumns + row] = widen(w[row * k + i]);
    }
  }
}

void product_panel(const float* x, int64_t ldx, int64_t m, const float* panel, int64_t k,
                   float* out, int64_t ldo) {
  for (int64_t i = 0; i < k; i += kSlice) {
    const int64_t n = k - i < kSlice ? k - i : kSlice;
    slice(x + i, ldx, m, panel + i * kPanelColumns, n, i > 0, out, ldo);
  }
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
