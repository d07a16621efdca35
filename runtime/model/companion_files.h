// Model folders that are made of others: where they may be, and what goes into them beside the
// weights, namely the configuration, the tokenizer's files and the defaults of generation.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/model/safetensors.h"

namespace okapi {

/// Makes the folder unless it is there. Throws invalid_argument naming `field` and it if it is one
/// of those that are read, whose files must not be written over. Empty inputs are none.
void make_output_folder(const std::filesystem::path& out, const char* field,
                        std::initializer_list<std::filesystem::path> inputs);

/// Writes `config`, the object of a config.json, saying of the weights beside it what they are:
/// their dtype, or f32, which holds all of them, where they differ. (transformers may load a model
/// in the dtype that its config.json names, so a narrower one would lose digits.)
void write_model_config(const std::filesystem::path& folder, Json config,
                        const std::vector<TensorHeader>& weights);

/// Copies those that are there. Each is seen whole or not at all.
void copy_companion_files(const std::filesystem::path& from, const std::filesystem::path& to);

/// Copies one file by its name, which must be there.
void copy_file_of_model(const std::filesystem::path& from, const std::filesystem::path& to,
                        const std::string& name);

}  // namespace okapi
