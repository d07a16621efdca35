#include "runtime/model/companion_files.h"

#include <system_error>

#include "runtime/base/error.h"
#include "runtime/base/file.h"

namespace okapi {

namespace {

constexpr size_t kMostBytes = size_t{1} << 30;

constexpr const char* kNames[] = {
    "tokenizer.model",    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.json",         "merges.txt",     "added_tokens.json",     "generation_config.json",
    "chat_template.jinja"};

}  // namespace

void make_output_folder(const std::filesystem::path& out,
                        std::initializer_list<std::filesystem::path> inputs) {
  std::error_code ignored;
  for (const std::filesystem::path& input : inputs) {
    if (!std::filesystem::equivalent(out, input, ignored)) continue;
    throw Error(Code::invalid_argument, "wanted a folder of its own to write to, found one to read")
        .in("model")
        .field("out")
        .at(out.string());
  }
  std::filesystem::create_directories(out, ignored);  // whoever writes there says what is wrong
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
