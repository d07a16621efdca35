// How much memory there is, and what follows from it.
#pragma once

#include <cstdint>

#include "backends/backend.h"

namespace okapi {

/// Bytes that the machine, or the group of processes this one is in, could still give.
uint64_t available_memory();

/// The same of the memory that the backend keeps tensors in.
uint64_t available_memory(const Backend& backend);

/// Whether the activations of all layers are too large to be kept for the backward pass,
/// `available` being there: more than half of it, so that something is left for others. To compute
/// them again takes a third more work and changes no byte of the result.
inline bool outweighs(uint64_t activation_bytes, uint64_t available) {
  return activation_bytes > available / 2;
}

}  // namespace okapi
