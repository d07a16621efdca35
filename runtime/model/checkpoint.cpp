#include "runtime/model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "runtime/base/sha256.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/safetensors.h"

namespace okapi {

namespace {

constexpr const char* kModelComponent = "model";
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// A name in the same folder: an index must not lead a reader to files elsewhere.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

}  // namespace

struct Checkpoint::LazyHash {
  std::mutex mutex;
  std::string hex;
};

Checkpoint::Checkpoint() : hash_(std::make_shared<LazyHash>()) {}

Checkpoint Checkpoint::open(const std::filesystem::path& folder, std::string_view config_file) {
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  checkpoint.config_ = read_model_config(folder, config_file);
  checkpoint.config_sha256_ = sha256_of_file(folder / config_file);
  checkpoint.open_weights();
  checkpoint.check_tensors();
  return checkpoint;
}

void Checkpoint::open_weights() {
  const std::filesystem::path single = folder_ / kSingleFile;
  const std::filesystem::path index = folder_ / kIndexFile;
  if (is_file(single)) {
    weights_path_ = single;
    shards_.push_back(SafetensorsFile::open(single));
    for (const std::string& name : shards_.front().names()) shard_of_[name] = 0;
  } else if (is_file(index)) {
    weights_path_ = index;
    open_shards(index);
  } else {
    throw Error(Code::not_found,
                std::string("the folder holds neither ") + kSingleFile + " nor " + kIndexFile)
        .in(kModelComponent)
        .field(kSingleFile)
        .at(folder_.string());
  }
}

size_t Checkpoint::open_shard(const std::filesystem::path& index_path, const std::string& file_name,
                              const std::string& field, std::map<std::string, size_t>& opened) {
  const auto known = opened.find(file_name);
  if (known != opened.end()) return known->second;

  const std::filesystem::path path = folder_ / file_name;
  if (!is_file(path)) {
    throw Error(Code::not_found, field + ": the shard " + file_name + " does not exist")
        .in(kModelComponent)
        .field(field)
        .at(index_path.string());
  }
  shards_.push_back(SafetensorsFile::open(path));
  return opened[file_name] = shards_.size() - 1;
}

void Checkpoint::open_shards(const std::filesystem::path& index_path) {
  const Json json = parse_json_file(index_path, kModelComponent);
  JsonFields index(json, {kModelComponent, index_path.string()});
  index.ignore("metadata");  // the total size, which the shards themselves tell
  JsonFields map = index.object("weight_map");
  index.finish();

  // Sorted by shard, so that their order, and with it the hash, does not depend on the index's.
  std::set<std::pair<std::string, std::string>> by_file;
  for (const auto& item : json["weight_map"].items()) {
    const std::string file_name = map.text(item.key());
    if (!is_plain_file_name(file_name)) {
      map.fail(item.key(), "wanted the name of a file in the same folder, found " +
                               describe_json(item.value()));
    }
    by_file.emplace(file_name, item.key());
  }

  std::map<std::string, size_t> opened;
  for (const auto& [file_name, name] : by_file) {
    const size_t shard = open_shard(index_path, file_name, map.path_of(name), opened);
    if (!shards_[shard].has(name)) {
      map.fail(name, "the shard " + file_name + " does not hold this tensor");
    }
    shard_of_[name] = shard;
  }

  // transformers loads whole shards, so what the index leaves out would still be loaded there.
  for (const SafetensorsFile& shard : shards_) {
    for (const std::string& name : shard.names()) {
      if (shard_of_.contains(name)) continue;
      map.fail(name, "the index does not list this tensor, which " + shard.path() + " holds");
    }
  }
}

void Checkpoint::check_tensors() const {
  std::set<std::string> expected;
  for_each_llama_tensor(config_, [&](const ExpectedTensor& wanted) {
    const auto found = shard_of_.find(wanted.name);
    if (found == shard_of_.end()) {
      const bool untied_head = wanted.name == "lm_head.weight";
      throw Error(Code::invalid_argument,
                  wanted.name + ": the tensor is missing" +
                      (untied_head ? ", and tie_word_embeddings is not true" : ""))
          .in(kModelComponent)
          .field(wanted.name)
          .at(weights_path_.string());
    }
    const SafetensorsFile& shard = shards_[found->second];
    if (shard.shape(wanted.name) != wanted.shape) {
      throw Error(Code::invalid_argument, wanted.name + ": the configuration wants shape " +
                                              shape_text(wanted.shape) + ", the file has " +
                                              shape_text(shard.shape(wanted.name)))
          .in(kModelComponent)
          .field(wanted.name)
          .at(shard.path());
    }
    const DType dtype = shard.tensor(wanted.name).dtype;
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
      throw Error(
          Code::unimplemented,
          wanted.name + ": wanted weights in F32, F16 or BF16, found " + safetensors_name(dtype))
          .in(kModelComponent)
          .field(wanted.name)
          .at(shard.path());
    }
    expected.insert(wanted.name);
  });

  // A tensor we would leave out (a bias, a layer too many) is part of what the model computes.
  for (const auto& [name, shard] : shard_of_) {
    if (expected.contains(name) || is_redundant_llama_tensor(config_, name)) continue;
    throw Error(Code::unimplemented, name + ": the configuration describes no such tensor (" +
                                         std::to_string(config_.n_layers) + " layers, no biases)")
        .in(kModelComponent)
        .field(name)
        .at(shards_[shard].path());
  }
  check_tied_output();
}

/// transformers takes such an output projection for what the model was trained with, and ties only
/// what is equal.
void Checkpoint::check_tied_output() const {
  const std::string name = "lm_head.weight";
  if (!config_.tied_embeddings || !has(name)) return;
  const SafetensorsFile& shard = shards_[shard_of_.at(name)];
  const ConstTensorView output = shard.tensor(name);
  const ConstTensorView embedding = tensor("model.embed_tokens.weight");
  if (shard.shape(name) == std::vector{config_.vocab_size, config_.d_model} &&
      output.dtype == embedding.dtype &&
      std::memcmp(output.data, embedding.data,
                  static_cast<size_t>(embedding.count()) * size_of(embedding.dtype)) == 0) {
    return;
  }
  throw Error(Code::invalid_argument,
              name + ": differs from model.embed_tokens.weight, but tie_word_embeddings is true")
      .in(kModelComponent)
      .field(name)
      .at(shard.path());
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& item : shard_of_) names.push_back(item.first);
  return names;
}

ConstTensorView Checkpoint::tensor(const std::string& name) const {
  const auto found = shard_of_.find(name);
  if (found == shard_of_.end()) {
    throw Error(Code::not_found, name + ": the checkpoint holds no such tensor")
        .in(kModelComponent)
        .field(name)
        .at(weights_path_.string());
  }
  return shards_[found->second].tensor(name);
}

bool Checkpoint::has_bf16_matrices() const {
  bool all = true;
  for_each_llama_tensor(config_, [&](const ExpectedTensor& wanted) {
    all = all && (wanted.shape.size() < 2 || tensor(wanted.name).dtype == DType::bf16);
  });
  return all;
}

std::string Checkpoint::sha256(
    const std::function<void(int64_t done, int64_t total)>& between) const {
  constexpr size_t kBytesAtOnce = size_t{16} << 20;  // some tens of milliseconds
  const std::lock_guard lock(hash_->mutex);
  if (hash_->hex.empty()) {
    size_t n_total = 0;
    for (const SafetensorsFile& shard : shards_) n_total += shard.bytes().size();
    size_t n_done = 0;
    Sha256 all;
    all.update(config_sha256_);
    for (const SafetensorsFile& shard : shards_) {
      Sha256 file;
      for (auto left = shard.bytes(); !left.empty();) {
        const auto part = left.first(std::min(left.size(), kBytesAtOnce));
        left = left.subspan(part.size());
        file.update(part.data(), part.size());
        n_done += part.size();
        if (between) between(static_cast<int64_t>(n_done), static_cast<int64_t>(n_total));
      }
      all.update(file.hex());
    }
    hash_->hex = all.hex();
  }
  return hash_->hex;
}

std::vector<std::string> Checkpoint::files() const {
  std::vector<std::string> files;
  for (const SafetensorsFile& shard : shards_) files.push_back(shard.path());
  return files;
}

}  // namespace okapi
