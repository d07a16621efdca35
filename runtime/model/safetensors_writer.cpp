#include <algorithm>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/model/safetensors.h"

namespace okapi {

namespace {

using NamedTensor = std::pair<std::string, ConstTensorView>;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& name,
                         const std::string& problem) {
  throw Error(Code::invalid_argument, name + ": " + problem)
      .in("safetensors")
      .field(name)
      .at(path.string());
}

void check(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  std::set<std::string> seen;
  for (const auto& [name, view] : tensors) {
    if (name == "__metadata__") refuse(path, name, "the format reserves this name");
    if (!seen.insert(name).second) refuse(path, name, "two tensors have this name");
    int64_t stride = 1;
    for (int axis = view.rank - 1; axis >= 0; --axis) {
      if (view.shape[axis] != 1 && view.strides[axis] != stride) {
        refuse(path, name, "wanted a contiguous tensor");
      }
      stride *= view.shape[axis];
    }
  }
}

size_t bytes_of(const ConstTensorView& view) {
  return static_cast<size_t>(view.count()) * size_of(view.dtype);
}

}  // namespace

const char* safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::f64:
      return "F64";
    case DType::i32:
      return "I32";
    case DType::i64:
      return "I64";
    case DType::u8:
      return "U8";
  }
  throw Error(Code::internal, "a dtype without a name");
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check(path, tensors);
  std::vector<NamedTensor> ordered = tensors;
  std::sort(ordered.begin(), ordered.end(), [](const NamedTensor& a, const NamedTensor& b) {
    const size_t size_a = size_of(a.second.dtype);
    const size_t size_b = size_of(b.second.dtype);
    return size_a != size_b ? size_a > size_b : a.first < b.first;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const auto& [name, view] : ordered) {
    const size_t end = offset + bytes_of(view);
    header[name] = {{"dtype", safetensors_name(view.dtype)},
                    {"shape", std::vector<int64_t>(view.shape, view.shape + view.rank)},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }

  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data starts at a multiple of 8
  std::byte length[8];
  for (size_t i = 0; i < sizeof length; ++i) {
    length[i] = static_cast<std::byte>(text.size() >> (8 * i) & 255);
  }

  write_file_atomically(path, [&](const FileWriter& write) {
    write(length);
    write(std::as_bytes(std::span(text.data(), text.size())));
    for (const auto& item : ordered) {
      write({static_cast<const std::byte*>(item.second.data), bytes_of(item.second)});
    }
  });
}

}  // namespace okapi
