// The bytes behind an exported data symbol of a shared library, without loading it. The one user of
// libelf.
#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

namespace okapi {

/// Throws not_found or permission_denied for the file; invalid_argument, naming file and reason, if
/// it is no shared library for this machine, is damaged, or exports no such data.
std::vector<std::byte> read_elf_symbol(const std::filesystem::path& path, const char* symbol);

}  // namespace okapi
