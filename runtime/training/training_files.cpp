#include "runtime/training/training_files.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/sha256.h"
#include "runtime/model/companion_files.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/rope_to_config.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/safetensors.h"
#include "runtime/training/checkpoint_folder.h"

namespace okapi {

namespace {

constexpr const char* kTrainingComponent = "training";
constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kAdapterFile = "adapter_model.safetensors";
constexpr const char* kOptimizerFile = "okapi_optimizer.safetensors";
constexpr const char* kStateFile = "okapi_training.json";
constexpr const char* kFormat = "okapi.training/1";
constexpr int64_t kMostOfAFile = int64_t{1} << 60;

[[noreturn]] void damaged(const std::filesystem::path& file, const std::string& problem) {
  throw Error(Code::data_loss, problem).in(kTrainingComponent).at(file.string());
}

ConstTensorView tensor_of(const SafetensorsFile& file, const std::string& name,
                          const std::vector<int64_t>& shape) {
  if (!file.has(name)) damaged(file.path(), name + ": the tensor is missing");
  if (file.shape(name) != shape) damaged(file.path(), name + ": the tensor has another shape");
  const ConstTensorView view = file.tensor(name);
  if (view.dtype != DType::f32) damaged(file.path(), name + ": wanted F32");
  return view;
}

}  // namespace

void write_model_folder(const std::filesystem::path& folder, const Parameters& parameters,
                        const WeightSource& source, const Adapter* adapter, const Json& config,
                        const Rope& rope, const std::filesystem::path& base_folder, DType dtype,
                        TrainingStream& stream, std::span<const CancelToken* const> cancels) {
  std::map<std::string, const Parameter*> trained;
  for (const Parameter& parameter : parameters.trained()) trained[parameter.name] = &parameter;

  WeightSource now = [&](const std::string& name) {
    const auto found = trained.find(name);
    if (found == trained.end()) return source(name);
    LentTensor values;
    values.storage = parameters.download(*found->second, stream);
    values.view = std::as_const(values.storage).view();
    return values;
  };
  if (adapter != nullptr) now = merged_source(now, *adapter, parameters.config());

  // Tensors that did not change keep their type, and so their bytes.
  std::set<std::string> adapted;
  if (adapter != nullptr) {
    for (const auto& [key, module] : adapter->modules()) {
      adapted.insert(layer_tensor_name(key.first, projection_module(key.second)));
    }
  }
  std::vector<TensorHeader> tensors;
  for_each_llama_tensor(parameters.config(), [&](const ExpectedTensor& tensor) {
    const bool has_changed = trained.contains(tensor.name) || adapted.contains(tensor.name);
    tensors.push_back(
        {tensor.name, has_changed ? dtype : source(tensor.name).view.dtype, tensor.shape});
  });
  const auto fill = [&](const std::string& name, const FileWriter& write) {
    for (const CancelToken* cancel : cancels) cancel->check();
    const LentTensor lent = now(name);
    const bool has_changed = trained.contains(name) || adapted.contains(name);
    const bool is_as_wanted = !has_changed || lent.view.dtype == dtype;
    const HostTensor other = is_as_wanted ? HostTensor() : converted(lent.view, dtype);
    const ConstTensorView view = is_as_wanted ? lent.view : other.view();
    write({static_cast<const std::byte*>(view.data),
           static_cast<size_t>(view.count()) * size_of(view.dtype)});
  };
  write_safetensors_by_part(folder / kModelFile, tensors, fill, {{"format", "pt"}});

  write_model_config(folder, config_with_rope(config, rope), tensors);
  copy_companion_files(base_folder, folder);
}

void write_optimizer(const std::filesystem::path& folder, const Parameters& parameters,
                     bool with_masters, TrainingStream& stream) {
  std::map<std::string, ConstTensorView> views;
  std::vector<TensorHeader> tensors;
  const auto add = [&](const std::string& name, const ConstTensorView& view) {
    views[name] = view;
    tensors.push_back({name, view.dtype, {view.shape, view.shape + view.rank}});
  };
  for (const Parameter& parameter : parameters.trained()) {
    add("first_moment." + parameter.name, parameter.first_moment.view());
    add("second_moment." + parameter.name, parameter.second_moment.view());
    if (with_masters) add("master." + parameter.name, parameter.value);
  }
  const auto fill = [&](const std::string& name, const FileWriter& write) {
    const HostTensor host = parameters.download(views.at(name), /*n_rotated_heads=*/0, stream);
    const ConstTensorView view = host.view();
    write({static_cast<const std::byte*>(view.data),
           static_cast<size_t>(view.count()) * sizeof(float)});
  };
  write_safetensors_by_part(folder / kOptimizerFile, tensors, fill,
                            {{"format", "okapi.optimizer/1"}});
}

void read_parameters(const std::filesystem::path& folder, Parameters& parameters,
                     TrainingStream& stream) {
  const SafetensorsFile optimizer = SafetensorsFile::open(folder / kOptimizerFile);
  std::optional<SafetensorsFile> model;
  std::optional<SafetensorsFile> adapter;
  if (parameters.trains_base()) model = SafetensorsFile::open(folder / kModelFile);
  if (parameters.has_adapter()) adapter = SafetensorsFile::open(folder / kAdapterFile);

  for (Parameter& parameter : parameters.trained()) {
    const std::string master = "master." + parameter.name;
    const size_t bytes = static_cast<size_t>(parameter.count()) * sizeof(float);
    if (optimizer.has(master)) {
      stream.upload(parameter.value.data, tensor_of(optimizer, master, parameter.shape).data,
                    bytes);
    } else {
      const SafetensorsFile& file = parameter.is_adapter ? *adapter : *model;
      parameters.upload(parameter, tensor_of(file, parameter.name, parameter.shape), stream);
    }
    for (auto [prefix, moment] : {std::pair("first_moment.", &parameter.first_moment),
                                  std::pair("second_moment.", &parameter.second_moment)}) {
      const ConstTensorView view =
          tensor_of(optimizer, prefix + parameter.name, {parameter.count()});
      stream.upload(moment->view().data, view.data, bytes);
    }
    stream.synchronize();
  }
  parameters.refresh(stream);
  stream.synchronize();
}

void write_state(const std::filesystem::path& folder, const TrainingState& state) {
  Json files = Json::object();
  for (const auto& [name, sha256] : hashes_of_files(folder)) files[name] = sha256;
  const Json json = {
      {"format", kFormat},
      {"step", state.step},
      {"position", state.position},
      {"n_tokens", state.n_tokens},
      {"n_learned", state.n_learned},
      {"divergence", state.divergence},
      {"best_step", state.best_step},
      {"best_loss", state.best_loss},
      {"identity", state.identity},
      {"model_sha256", state.model_sha256},
      {"data", state.data},
      {"rope_plugins", state.rope_plugins},
      {"config", state.config},
      {"train_rope", state.train_rope},
      {"eval_rope", state.eval_rope},
      {"files", files},
  };
  write_file_atomically(folder / kStateFile, json.dump(2) + "\n");
}

TrainingState read_state(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kStateFile;
  if (!std::filesystem::exists(path)) damaged(folder, std::string("holds no ") + kStateFile);
  try {
    const Json json = parse_json_file(path, kTrainingComponent);
    JsonFields fields(json, {kTrainingComponent, path.string()});
    if (fields.text("format") != kFormat) {
      damaged(path, std::string("wanted format ") + kFormat + ", found " + fields.text("format"));
    }
    TrainingState state;
    state.step = fields.integer("step", 0, kMostOfAFile);
    state.position = fields.integer("position", 0, kMostOfAFile);
    state.n_tokens = fields.integer("n_tokens", 0, kMostOfAFile);
    state.n_learned = fields.integer("n_learned", 0, kMostOfAFile);
    state.best_step = fields.integer("best_step", -1, kMostOfAFile);
    state.best_loss = fields.number("best_loss");
    state.model_sha256 = fields.text("model_sha256");
    state.train_rope = fields.text("train_rope");
    state.eval_rope = fields.text("eval_rope");
    const auto copy = [&](const char* key) {
      const Json* value = fields.value(key);
      return value == nullptr ? Json() : *value;
    };
    state.divergence = copy("divergence");
    state.identity = copy("identity");
    state.data = copy("data");
    state.rope_plugins = copy("rope_plugins");
    state.config = copy("config");

    JsonFields files = fields.object("files");
    for (const auto& item : json["files"].items()) {
      const std::filesystem::path file = folder / item.key();
      const std::string wanted = files.text(item.key());
      if (!std::filesystem::exists(file)) damaged(file, "a file of the checkpoint is missing");
      const std::string found = sha256_of_file(file);
      if (found != wanted) {
        damaged(file, "a file of the checkpoint is damaged: wanted SHA-256 " + wanted + ", found " +
                          found);
      }
    }
    fields.finish();
    return state;
  } catch (const Error& error) {
    if (error.code() == Code::data_loss) throw;
    throw Error(Code::data_loss, "the state of the checkpoint is damaged")
        .in(kTrainingComponent)
        .at(path.string())
        .because(error);
  }
}

}  // namespace okapi
