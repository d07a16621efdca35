// Folders that are made of others: where they may be, and what is copied into them beside weights
// and configuration, namely the tokenizer's files and the defaults of generation.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>

namespace okapi {

/// Makes the folder unless it is there. Throws invalid_argument naming it if it is one of those
/// that are read, whose files must not be written over.
void make_output_folder(const std::filesystem::path& out,
                        std::initializer_list<std::filesystem::path> inputs);

/// Copies those that are there. Each is seen whole or not at all.
void copy_companion_files(const std::filesystem::path& from, const std::filesystem::path& to);

/// Copies one file by its name, which must be there.
void copy_file_of_model(const std::filesystem::path& from, const std::filesystem::path& to,
                        const std::string& name);

}  // namespace okapi
