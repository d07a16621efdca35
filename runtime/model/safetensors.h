// Safetensors files: an 8-byte header length, a JSON header, then the tensors' bytes.
//
// Format: https://github.com/huggingface/safetensors. The file is mapped; the header is checked
// completely (lengths, dtypes, shapes, offsets, gaps, overlaps) before a single tensor is handed
// out.
//
//   const SafetensorsFile file = SafetensorsFile::open("model.safetensors");
//   ConstTensorView embedding = file.tensor("model.embed_tokens.weight");
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/tensor_view.h"
#include "runtime/base/file.h"
#include "runtime/base/mapped_file.h"

namespace okapi {

/// "[1024, 256]", for messages.
std::string shape_text(std::span<const int64_t> shape);

class SafetensorsFile {
 public:
  /// Throws not_found, or data_loss naming the file, the tensor and the field that is wrong.
  static SafetensorsFile open(const std::filesystem::path& path);

  bool has(const std::string& name) const { return entries_.contains(name); }
  std::vector<std::string> names() const;  ///< sorted

  /// The mapped tensor; lives as long as this. Throws not_found, or unimplemented for a dtype or
  /// rank the engine does not compute with (the message names it).
  ConstTensorView tensor(const std::string& name) const;

  /// The shape of any tensor, whatever its dtype and rank, and its dtype in the format's words.
  const std::vector<int64_t>& shape(const std::string& name) const;
  const std::string& dtype(const std::string& name) const;

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return file_.bytes(); }  ///< the whole file

 private:
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    uint64_t begin = 0;  ///< from the start of the data
    uint64_t end = 0;
    std::vector<std::byte> aligned_copy;  ///< only where the file misaligns the tensor
  };

  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}

  void read_header();
  void check_layout() const;
  void copy_misaligned();
  const Entry& entry(const std::string& name) const;

  MappedFile file_;
  uint64_t data_start_ = 0;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes the tensors (contiguous, names unique) so that readers see the whole file or none. Larger
/// element types come first, so that every tensor is aligned.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, ConstTensorView>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// What a file will hold of one tensor.
struct TensorHeader {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
};

/// The same for tensors that are made one by one: `fill` writes the bytes of the one named, and
/// need not hold the others.
void write_safetensors_by_part(
    const std::filesystem::path& path, const std::vector<TensorHeader>& tensors,
    const std::function<void(const std::string& name, const FileWriter& write)>& fill,
    const std::map<std::string, std::string>& metadata = {});

/// "F32", "BF16": the format's name of a dtype.
const char* safetensors_name(DType dtype);

}  // namespace okapi
