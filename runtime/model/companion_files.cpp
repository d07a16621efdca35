#include "runtime/model/companion_files.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"

namespace okapi {

namespace {

constexpr size_t kMostBytes = size_t{1} << 30;

constexpr const char* kNames[] = {
    "tokenizer.model",    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.json",         "merges.txt",     "added_tokens.json",     "generation_config.json",
    "chat_template.jinja"};

/// torch's name of the dtype of all weights; f32's where they differ.
const char* torch_name(const std::vector<TensorHeader>& weights) {
  const auto are_all = [&](DType dtype) {
    return std::all_of(weights.begin(), weights.end(),
                       [&](const TensorHeader& weight) { return weight.dtype == dtype; });
  };
  if (are_all(DType::bf16)) return "bfloat16";
  return are_all(DType::f16) ? "float16" : "float32";
}

}  // namespace

void make_output_folder(const std::filesystem::path& out, const char* field,
                        std::initializer_list<std::filesystem::path> inputs) {
  std::error_code ignored;
  for (const std::filesystem::path& input : inputs) {
    if (!std::filesystem::equivalent(out, input, ignored)) continue;
    throw Error(Code::invalid_argument,
                std::string(field) + ": wanted a folder of its own to write to, found one to read")
        .in("model")
        .field(field)
        .at(out.string());
  }
  std::filesystem::create_directories(out, ignored);  // whoever writes there says what is wrong
}

void write_model_config(const std::filesystem::path& folder, Json config,
                        const std::vector<TensorHeader>& weights) {
  config.erase("dtype");  // the later name of the same key, which older readers do not know
  config["torch_dtype"] = torch_name(weights);
  write_file_atomically(folder / "config.json", config.dump(2) + "\n");
}

void copy_file_of_model(const std::filesystem::path& from, const std::filesystem::path& to,
                        const std::string& name) {
  write_file_atomically(to / name, read_file(from / name, kMostBytes));
}

void copy_companion_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const char* name : kNames) {
    std::error_code ignored;
    if (std::filesystem::exists(from / name, ignored)) copy_file_of_model(from, to, name);
  }
}

}  // namespace okapi
