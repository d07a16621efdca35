// Which instruction set's kernels to use. Compiled for the plainest processor.
#include <cstring>
#include <string>

#include "backends/backend.h"
#include "backends/cpu/kernels/kernels.h"

namespace okapi::cpu {

namespace baseline {
extern const Kernels kTable;
}
#ifdef OKAPI_CPU_X86
namespace avx2 {
extern const Kernels kTable;
}
namespace avx512 {
extern const Kernels kTable;
}
#endif

namespace {

struct Variant {
  const Kernels& kernels;
  bool runs_here;
};

}  // namespace

const Kernels& select_kernels(const char* variant) {
  // Best first. The built-in asks the processor and the operating system.
  const Variant variants[] = {
#ifdef OKAPI_CPU_X86
      {avx512::kTable, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512vl")},
      {avx2::kTable, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
      {baseline::kTable, true},
  };
  const bool any = std::strlen(variant) == 0;
  std::string known;
  for (const Variant& candidate : variants) {
    if ((any || std::strcmp(variant, candidate.kernels.name) == 0) && candidate.runs_here) {
      return candidate.kernels;
    }
    if (candidate.runs_here) {
      known += std::string(known.empty() ? "" : ", ") + candidate.kernels.name;
    }
  }
  throw BackendError(std::string("variant: ") + variant +
                     " is not among those this processor runs: " + known);
}

}  // namespace okapi::cpu
