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

void check_names(const std::filesystem::path& path, const std::vector<TensorHeader>& tensors) {
  std::set<std::string> seen;
  for (const TensorHeader& tensor : tensors) {
    if (tensor.name == "__metadata__") refuse(path, tensor.name, "the format reserves this name");
    if (!seen.insert(tensor.name).second) refuse(path, tensor.name, "two tensors have this name");
  }
}

void check_contiguous(const std::filesystem::path& path, const std::string& name,
                      const ConstTensorView& view) {
  int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    if (view.shape[axis] != 1 && view.strides[axis] != stride) {
      refuse(path, name, "wanted a contiguous tensor");
    }
    stride *= view.shape[axis];
  }
}

size_t bytes_of(const TensorHeader& tensor) {
  size_t bytes = size_of(tensor.dtype);
  for (const int64_t size : tensor.shape) bytes *= static_cast<size_t>(size);
  return bytes;
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

void write_safetensors_by_part(
    const std::filesystem::path& path, const std::vector<TensorHeader>& tensors,
    const std::function<void(const std::string& name, const FileWriter& write)>& fill,
    const std::map<std::string, std::string>& metadata) {
  check_names(path, tensors);
  std::vector<TensorHeader> ordered = tensors;
  std::sort(ordered.begin(), ordered.end(), [](const TensorHeader& a, const TensorHeader& b) {
    const size_t size_a = size_of(a.dtype);
    const size_t size_b = size_of(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t offset = 0;
  for (const TensorHeader& tensor : ordered) {
    const size_t end = offset + bytes_of(tensor);
    header[tensor.name] = {{"dtype", safetensors_name(tensor.dtype)},
                           {"shape", tensor.shape},
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
    for (const TensorHeader& tensor : ordered) {
      size_t n_written = 0;
      fill(tensor.name, [&](std::span<const std::byte> bytes) {
        n_written += bytes.size();
        write(bytes);
      });
      if (n_written == bytes_of(tensor)) continue;
      throw Error(Code::internal, tensor.name + ": wanted " + std::to_string(bytes_of(tensor)) +
                                      " bytes, were given " + std::to_string(n_written))
          .in("safetensors")
          .field(tensor.name)
          .at(path.string());
    }
  });
}

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorHeader> headers;
  std::map<std::string, ConstTensorView> views;
  for (const auto& [name, view] : tensors) {
    check_contiguous(path, name, view);
    headers.push_back({name, view.dtype, {view.shape, view.shape + view.rank}});
    views[name] = view;
  }
  const auto fill = [&](const std::string& name, const FileWriter& write) {
    const ConstTensorView& view = views.at(name);
    write({static_cast<const std::byte*>(view.data),
           static_cast<size_t>(view.count()) * size_of(view.dtype)});
  };
  write_safetensors_by_part(path, headers, fill, metadata);
}

}  // namespace okapi
