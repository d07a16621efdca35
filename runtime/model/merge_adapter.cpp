#include "runtime/model/merge_adapter.h"

#include <set>
#include <string>
#include <vector>

#include "runtime/model/adapter.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/companion_files.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/safetensors.h"

namespace okapi {

void merge_adapter(const std::filesystem::path& base_folder,
                   const std::filesystem::path& adapter_folder, const std::filesystem::path& out,
                   const MergeOptions& options) {
  const Checkpoint base = Checkpoint::open(base_folder);
  const Adapter adapter = Adapter::load(adapter_folder, base.config());
  const WeightSource source = merged_source(
      [&base](const std::string& name) {
        return LentTensor{base.tensor(name), HostTensor()};
      },
      adapter, base.config());

  std::set<std::string> changed;
  for (const auto& [key, module] : adapter.modules()) {
    changed.insert(layer_tensor_name(key.first, projection_module(key.second)));
  }
  const auto dtype_of = [&](const std::string& name) {
    const DType own = base.tensor(name).dtype;
    return changed.contains(name) ? options.dtype.value_or(own) : own;
  };
  std::vector<TensorHeader> headers;
  for_each_llama_tensor(base.config(), [&](const ExpectedTensor& tensor) {
    headers.push_back({tensor.name, dtype_of(tensor.name), tensor.shape});
  });

  make_output_folder(out, "out", {base_folder, adapter_folder});
  const std::filesystem::path file = out / "model.safetensors";
  int64_t n_done = 0;
  write_safetensors_by_part(
      file, headers,
      [&](const std::string& name, const FileWriter& write) {
        if (options.cancel != nullptr) options.cancel->check();
        const LentTensor lent = source(name);
        const DType wanted = dtype_of(name);
        if (changed.contains(name)) check_fits(name, lent.view, wanted, file);
        const HostTensor other =
            lent.view.dtype == wanted ? HostTensor() : converted(lent.view, wanted);
        const ConstTensorView view = lent.view.dtype == wanted ? lent.view : other.view();
        write({static_cast<const std::byte*>(view.data),
               static_cast<size_t>(view.count()) * size_of(view.dtype)});
        if (options.progress) options.progress(++n_done, static_cast<int64_t>(headers.size()));
      },
      {{"format", "pt"}});
  write_model_config(out, parse_json_file(base_folder / "config.json", "model"), headers);
  copy_companion_files(base_folder, out);
}

}  // namespace okapi
