#include "runtime/training/available_memory.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace okapi {

namespace {

// Of what a container uses: pages of files that have not been read for a while, which the kernel
// gives back before it refuses memory.
uint64_t reclaimable_memory() {
  std::ifstream statistics("/sys/fs/cgroup/memory.stat");
  std::string name;
  uint64_t bytes = 0;
  while (statistics >> name >> bytes) {
    if (name == "inactive_file") return bytes;
  }
  return 0;
}

}  // namespace

uint64_t available_memory() {
  uint64_t available = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kilobytes = 0;
    if (words >> name >> kilobytes && name == "MemAvailable:") available = kilobytes * 1024;
  }
  // A container's own limit, where there is one.
  std::ifstream most_file("/sys/fs/cgroup/memory.max");
  std::ifstream used_file("/sys/fs/cgroup/memory.current");
  uint64_t most = 0;
  uint64_t used = 0;
  if (most_file >> most && used_file >> used) {
    used -= std::min(used, reclaimable_memory());
    available = std::min(available, most > used ? most - used : 0);
  }
  return available;
}

uint64_t available_memory(const Backend& backend) {
  const std::optional<DeviceMemory> own = backend.device_memory();
  return own ? own->free : available_memory();
}

}  // namespace okapi
