// Every operation of backends/backend.h as a plain loop in double: the oracle of the backend tests.
// Matrices are row-major and contiguous. Written to be obviously right, not to be fast.
#pragma once

#include <cstdint>
#include <vector>

namespace okapi::reference {

using Values = std::vector<double>;

/// x [m, k] times w [n, k] transposed: [m, n].
Values linear(const Values& x, const Values& w, int64_t m, int64_t n, int64_t k);

/// x [t, n] / sqrt(mean square of the row + epsilon) * weight [n].
Values rms_norm(const Values& x, const Values& weight, int64_t t, int64_t n, double epsilon);

/// silu(gate) * up of rows [gate, up]: [t, 2 n] to [t, n].
Values swiglu(const Values& gate_up, int64_t t, int64_t n);

/// Rotates the pairs (x[i], x[i + d/2]) of one head by cos and sin [d/2].
void rotate(double* head, const double* cosines, const double* sines, int64_t d);

/// softmax(scale * q k) v for one query [d] over n keys and values [n, d].
Values attend(const double* query, const Values& keys, const Values& values, int64_t n, int64_t d,
              double scale);

/// -log softmax(logits [n])[target].
double log_loss(const double* logits, int64_t n, int64_t target);

/// Index of the largest of x [n], the lowest on a tie.
int64_t argmax(const double* x, int64_t n);

/// The token that `draw` picks from softmax(logits / temperature) cut by top_k and top_p, where the
/// tokens that are left lie side by side in the order of their ids; the largest at temperature 0;
/// -1 if no logit is finite and allowed.
int64_t sample(const Values& logits, double temperature, int64_t top_k, double top_p, double draw,
               const std::vector<int32_t>& forbidden);

}  // namespace okapi::reference
