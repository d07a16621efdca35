#include "runtime/model/delta.h"

#include <map>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/companion_files.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/safetensors.h"

namespace okapi {

namespace {

constexpr const char* kDeltaComponent = "delta";
constexpr const char* kFile = "delta.safetensors";
constexpr const char* kFormat = "okapi.delta/1";

std::map<std::string, std::vector<int64_t>> shapes_of(const ModelConfig& config) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for_each_llama_tensor(config,
                        [&](const ExpectedTensor& tensor) { shapes[tensor.name] = tensor.shape; });
  return shapes;
}

std::string hash_of(const Checkpoint& checkpoint, const DeltaOptions& options) {
  return checkpoint.sha256([&](int64_t done, int64_t total) {
    if (options.cancel != nullptr) options.cancel->check();
    if (options.progress) options.progress(done, total);
  });
}

/// For hashes on the way to something whose progress is counted in tensors.
DeltaOptions silently(DeltaOptions options) {
  options.progress = nullptr;
  return options;
}

/// a + factor b, element by element.
HostTensor combined(ConstTensorView a, ConstTensorView b, double factor) {
  HostTensor result = converted(a, DType::f32);
  const HostTensor other = converted(b, DType::f32);
  auto* out = static_cast<float*>(result.view().data);
  const auto* in = static_cast<const float*>(other.view().data);
  const int64_t n = a.count();
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(static_cast<double>(out[i]) + factor * in[i]);
  }
  return result;
}

void write_tensor(ConstTensorView values, DType dtype, const FileWriter& write) {
  const HostTensor rounded = converted(values, dtype);
  const ConstTensorView view = rounded.view();
  write({static_cast<const std::byte*>(view.data),
         static_cast<size_t>(view.count()) * size_of(dtype)});
}

/// Writes a file of all tensors, each made by `make` when its turn comes; returns what is in it.
template <typename DTypeOf, typename Make>
std::vector<TensorHeader> write_all(const std::filesystem::path& path, const ModelConfig& config,
                                    const DeltaOptions& options,
                                    const std::map<std::string, std::string>& metadata,
                                    DTypeOf&& dtype_of, Make&& make) {
  std::vector<TensorHeader> headers;
  for (const auto& [name, shape] : shapes_of(config)) {
    headers.push_back({name, dtype_of(name), shape});
  }
  int64_t n_done = 0;
  write_safetensors_by_part(
      path, headers,
      [&](const std::string& name, const FileWriter& write) {
        if (options.cancel != nullptr) options.cancel->check();
        const HostTensor values = make(name);
        check_fits(name, std::as_const(values).view(), dtype_of(name), path);
        write_tensor(std::as_const(values).view(), dtype_of(name), write);
        if (options.progress) options.progress(++n_done, static_cast<int64_t>(headers.size()));
      },
      metadata);
  return headers;
}

/// Throws `code` unless each tensor of the tuned model is in the base with the same shape.
void check_shapes(const ModelConfig& base, const ModelConfig& tuned, Code code,
                  const std::filesystem::path& tuned_folder) {
  const auto base_shapes = shapes_of(base);
  for (const auto& [name, shape] : shapes_of(tuned)) {
    const auto found = base_shapes.find(name);
    if (found != base_shapes.end() && found->second == shape) continue;
    throw Error(code,
                name + ": the tuned model has shape " + shape_text(shape) + ", the base " +
                    (found == base_shapes.end() ? "no such tensor" : shape_text(found->second)))
        .in(kDeltaComponent)
        .field(name)
        .at(tuned_folder.string());
  }
}

DeltaInfo read_info(const SafetensorsFile& file) {
  const auto field = [&](const char* name) {
    const auto found = file.metadata().find(name);
    if (found != file.metadata().end()) return found->second;
    throw Error(Code::data_loss, std::string(name) + ": is not in the delta's metadata")
        .in(kDeltaComponent)
        .field(name)
        .at(file.path());
  };
  if (field("format") != kFormat) {
    throw Error(Code::data_loss,
                std::string("format: wanted ") + kFormat + ", found " + field("format"))
        .in(kDeltaComponent)
        .field("format")
        .at(file.path());
  }
  DeltaInfo info;
  info.base_sha256 = field("base_sha256");
  info.tuned_sha256 = field("tuned_sha256");
  info.rope = field("rope");
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (field("dtype") != safetensors_name(dtype)) continue;
    info.dtype = dtype;
    return info;
  }
  throw Error(Code::data_loss, "dtype: wanted F32, F16 or BF16, found " + field("dtype"))
      .in(kDeltaComponent)
      .field("dtype")
      .at(file.path());
}

DeltaInfo check(const Checkpoint& base, const SafetensorsFile& file, const ModelConfig& config,
                const DeltaOptions& options) {
  const DeltaInfo info = read_info(file);
  if (info.base_sha256 != hash_of(base, options)) {
    throw Error(Code::failed_precondition,
                "base_sha256: the delta was made from a base of SHA-256 " + info.base_sha256 +
                    ", this one is " + base.sha256())
        .in(kDeltaComponent)
        .field("base_sha256")
        .at(base.folder().string());
  }
  // The sums below rely on each tensor having the base's shape and the dtype that was declared.
  check_shapes(base.config(), config, Code::data_loss,
               std::filesystem::path(file.path()).parent_path());
  const std::string dtype = safetensors_name(info.dtype);
  for (const auto& [name, shape] : shapes_of(config)) {
    const bool is_there = file.has(name);
    if (is_there && file.shape(name) == shape && file.dtype(name) == dtype) continue;
    throw Error(Code::data_loss,
                name + ": wanted " + dtype + " of shape " + shape_text(shape) + ", found " +
                    (is_there ? file.dtype(name) + " of " + shape_text(file.shape(name))
                              : "no such tensor"))
        .in(kDeltaComponent)
        .field(name)
        .at(file.path());
  }
  return info;
}

}  // namespace

void make_delta(const std::filesystem::path& base_folder, const std::filesystem::path& tuned_folder,
                const std::filesystem::path& delta, const DeltaOptions& options) {
  const Checkpoint base = Checkpoint::open(base_folder);
  const Checkpoint tuned = Checkpoint::open(tuned_folder);
  check_shapes(base.config(), tuned.config(), Code::invalid_argument, tuned_folder);
  const DType dtype = options.dtype.value_or(DType::f16);
  const DeltaOptions silent = silently(options);
  make_output_folder(delta, "delta", {base_folder, tuned_folder});
  static_cast<void>(write_all(
      delta / kFile, tuned.config(), options,
      {{"format", kFormat},
       {"base_sha256", hash_of(base, silent)},
       {"tuned_sha256", hash_of(tuned, silent)},
       {"rope", tuned.config().rope_spec},
       {"dtype", safetensors_name(dtype)}},
      [&](const std::string&) { return dtype; },
      [&](const std::string& name) {
        return combined(tuned.tensor(name), base.tensor(name), -1);
      }));
  copy_file_of_model(tuned_folder, delta, "config.json");
  copy_companion_files(tuned_folder, delta);
}

DeltaInfo check_delta(const std::filesystem::path& base, const std::filesystem::path& delta,
                      const DeltaOptions& options) {
  return check(Checkpoint::open(base), SafetensorsFile::open(delta / kFile),
               read_model_config(delta), options);
}

void apply_delta(const std::filesystem::path& base_folder, const std::filesystem::path& delta,
                 const std::filesystem::path& out, const DeltaOptions& options) {
  const Checkpoint base = Checkpoint::open(base_folder);
  const SafetensorsFile file = SafetensorsFile::open(delta / kFile);
  const ModelConfig config = read_model_config(delta);
  static_cast<void>(check(base, file, config, silently(options)));
  make_output_folder(out, "out", {base_folder, delta});
  const std::vector<TensorHeader> weights = write_all(
      out / "model.safetensors", config, options, {{"format", "pt"}},
      [&](const std::string& name) { return options.dtype.value_or(base.tensor(name).dtype); },
      [&](const std::string& name) { return combined(base.tensor(name), file.tensor(name), 1); });
  write_model_config(out, parse_json_file(delta / "config.json", kDeltaComponent), weights);
  copy_companion_files(delta, out);
}

}  // namespace okapi
