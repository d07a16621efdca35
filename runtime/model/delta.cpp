#include "runtime/model/delta.h"

#include <cmath>
#include <map>
#include <set>
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

/// Writes a file of all tensors, each made by `make` when its turn comes.
template <typename DTypeOf, typename Make>
void write_all(const std::filesystem::path& path, const ModelConfig& config,
               const DeltaOptions& options, const std::map<std::string, std::string>& metadata,
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
        write_tensor(make(name).view(), dtype_of(name), write);
        if (options.progress) options.progress(++n_done, static_cast<int64_t>(headers.size()));
      },
      metadata);
}

void check_finite(const std::string& name, const HostTensor& values, DType dtype,
                  const std::filesystem::path& file) {
  const ConstTensorView view = values.view();
  const auto* data = static_cast<const float*>(view.data);
  const float most = dtype == DType::f16 ? 65504.0F : 3.38e38F;
  for (int64_t i = 0; i < view.count(); ++i) {
    if (std::fabs(data[i]) <= most) continue;
    throw Error(Code::out_of_range, name + ": the difference " + std::to_string(data[i]) +
                                        " does not fit " + safetensors_name(dtype))
        .in(kDeltaComponent)
        .field(name)
        .at(file.string());
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
  for (const auto& [name, shape] : shapes_of(config)) {
    if (file.has(name) && file.shape(name) == shape) continue;
    throw Error(Code::data_loss,
                name + ": the delta has no such tensor of shape " + shape_text(shape))
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
  const auto base_shapes = shapes_of(base.config());
  const auto tuned_shapes = shapes_of(tuned.config());
  for (const auto& [name, shape] : tuned_shapes) {
    const auto found = base_shapes.find(name);
    if (found != base_shapes.end() && found->second == shape) continue;
    throw Error(Code::invalid_argument,
                name + ": the tuned model has shape " + shape_text(shape) + ", the base " +
                    (found == base_shapes.end() ? "no such tensor" : shape_text(found->second)))
        .in(kDeltaComponent)
        .field(name)
        .at(tuned_folder.string());
  }
  const DType dtype = options.dtype.value_or(DType::f16);
  const DeltaOptions silent = silently(options);
  make_output_folder(delta, {base_folder, tuned_folder});
  write_all(
      delta / kFile, tuned.config(), options,
      {{"format", kFormat},
       {"base_sha256", hash_of(base, silent)},
       {"tuned_sha256", hash_of(tuned, silent)},
       {"rope", tuned.config().rope_spec},
       {"dtype", safetensors_name(dtype)}},
      [&](const std::string&) { return dtype; },
      [&](const std::string& name) {
        HostTensor difference = combined(tuned.tensor(name), base.tensor(name), -1);
        check_finite(name, difference, dtype, delta / kFile);
        return difference;
      });
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
  make_output_folder(out, {base_folder, delta});
  write_all(
      out / "model.safetensors", config, options, {{"format", "pt"}},
      [&](const std::string& name) { return options.dtype.value_or(base.tensor(name).dtype); },
      [&](const std::string& name) { return combined(base.tensor(name), file.tensor(name), 1); });
  copy_file_of_model(delta, out, "config.json");
  copy_companion_files(delta, out);
}

}  // namespace okapi
