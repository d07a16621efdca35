// The files of a Hugging Face folder beside weights and configuration: the tokenizer's, and the
// defaults of generation.
#pragma once

#include <filesystem>
#include <string>

namespace okapi {

/// Copies those that are there. Each is seen whole or not at all.
void copy_companion_files(const std::filesystem::path& from, const std::filesystem::path& to);

/// Copies one file by its name, which must be there.
void copy_file_of_model(const std::filesystem::path& from, const std::filesystem::path& to,
                        const std::string& name);

}  // namespace okapi
