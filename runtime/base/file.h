// Small files, whole: reading one into a string, writing one so that it is never seen half-written.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/base/error.h"

namespace okapi {

/// "cannot <verb> the file: <reason of errno>", with the code that fits and the file named.
Error file_error(std::string_view verb, const std::filesystem::path& path, int error_number);

/// The whole file. Throws as MappedFile::open does, except that an empty file is an empty string;
/// resource_exhausted when it is larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, size_t max_bytes);

/// Receives the pieces of a file in order.
using FileWriter = std::function<void(std::span<const std::byte>)>;

/// Writes a file aside, flushes it to the disk and renames it into place, so that a reader or a
/// crash finds the old file or the new one. `fill` writes the contents through its argument. Throws
/// if something that is no regular file is in the place.
void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(const FileWriter&)>& fill);
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

}  // namespace okapi
