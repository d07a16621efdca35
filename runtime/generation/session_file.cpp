// Sessions in files: the cache, its tokens and its scheme, in one safetensors file.
//
// - tokens [n] i32: ids held.
// - keys, values [n_layers, n_kv_heads, n_cached, head_dim]: absent if the cache is empty.
// - positions [n] f64: if the caller gave them.
//
// The metadata names the model by hash, the scheme with its parameters, the plugins, the options,
// and has a hash of the tensors.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/generation/session.h"
#include "runtime/generation/session_state.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/model.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/safetensors.h"
#include "runtime/model/workspace.h"

namespace okapi {

namespace {

constexpr const char* kFormat = "okapi session 1";
constexpr const char* kTensors[] = {"tokens", "keys", "values", "positions"};

/// Copies the keys or the values of one layer between a page and the file's [K, n_cached, D].
struct PageRows {
  const KvLayout& layout;
  int64_t n_cached;

  size_t row_bytes() const { return static_cast<size_t>(layout.head_dim) * size_of(layout.dtype); }

  /// Calls copy(bytes within the page, bytes within the file's tensor, size) for each run of rows
  /// that the page's tokens are: those from `first` on.
  template <typename Copy>
  void for_each_run(int64_t first, const Copy& copy) const {
    const int64_t n = std::min(layout.page_tokens, n_cached - first);
    for (int64_t layer = 0; layer < layout.n_layers; ++layer) {
      for (int64_t head = 0; head < layout.n_kv_heads; ++head) {
        const size_t in_page = static_cast<size_t>(layer) * layout.layer_bytes() +
                               static_cast<size_t>(head * layout.page_tokens) * row_bytes();
        const size_t in_file =
            static_cast<size_t>((layer * layout.n_kv_heads + head) * n_cached + first) *
            row_bytes();
        copy(in_page, in_file, static_cast<size_t>(n) * row_bytes());
      }
    }
  }
};

/// Which versions of which plugins the rope is made of; file names do not travel.
Json plugin_identities(const Rope& rope) {
  Json identities = Json::array();
  const Json description = rope.json();
  for (const Json& scheme : description.at("schemes")) {
    identities.push_back({{"id", scheme.at("id")}, {"version", scheme.at("version")}});
  }
  return identities;
}

std::string adapter_text(const std::shared_ptr<const AdapterWeights>& adapter) {
  return adapter ? adapter->sha256() : "none";
}

Json options_json(const SessionState& state) {
  return {{"rope_length", state.options.rope_length},
          {"context_length", state.options.context_length},
          {"prefill_chunk", state.options.prefill_chunk},
          {"raw_keys", state.options.raw_keys},
          {"seed", state.options.seed},
          {"deterministic", state.options.deterministic}};
}

using NamedTensors = std::vector<std::pair<std::string, ConstTensorView>>;

std::string sha256_of(const NamedTensors& tensors) {
  Sha256 hash;
  for (const auto& [name, tensor] : tensors) {
    hash.update(name);
    hash.update(tensor.data, static_cast<size_t>(tensor.count()) * size_of(tensor.dtype));
  }
  return hash.hex();
}

std::map<std::string, std::string> metadata_of(const SessionState& state,
                                               const NamedTensors& tensors) {
  return {{"format", kFormat},
          {"model_sha256", state.model->sha256()},
          {"weights_dtype", safetensors_name(state.model->dtype())},
          {"pair_layout",
           state.model->pair_layout() == PairLayout::half_split ? "half_split" : "interleaved"},
          {"rope", state.rope->canonical()},
          {"plugins", plugin_identities(*state.rope).dump()},
          {"declared_length", std::to_string(state.declared_length())},
          {"table_sha256", state.rotation ? state.rotation->table_sha256() : ""},
          {"adapter_sha256", adapter_text(state.options.adapter)},
          {"options", options_json(state).dump()},
          {"tensors_sha256", sha256_of(tensors)}};
}

/// A saved file being read: every field is looked for by name, every shape checked.
class SavedSession {
 public:
  SavedSession(std::shared_ptr<const Model> model, const std::filesystem::path& path,
               std::shared_ptr<const AdapterWeights> adapter)
      : model_(std::move(model)),
        file_(SafetensorsFile::open(path)),
        adapter_(std::move(adapter)) {}

  std::unique_ptr<SessionState> restore() const {
    check_same("format", kFormat, Code::data_loss);
    check_tensors();
    check_same("model_sha256", model_->sha256());
    check_same("weights_dtype", safetensors_name(model_->dtype()));
    check_same("pair_layout",
               model_->pair_layout() == PairLayout::half_split ? "half_split" : "interleaved");

    check_adapter();
    SessionOptions options = read_options();
    options.adapter = adapter_;
    options.rope = model_->parse_rope(field("rope"));
    check_same("plugins", plugin_identities(*options.rope).dump());
    auto state = std::make_unique<SessionState>(model_, options);
    read_tokens(*state);
    if (state->n_tokens() > 0) {
      state->rotation = state->make_rotation(read_declared_length());
      check_same("table_sha256", state->rotation->table_sha256());
      read_cache(*state);
    }
    return state;
  }

 private:
  Error damaged(const std::string& name, const std::string& problem) const {
    return Error(Code::data_loss, name + ": " + problem).in("session").field(name).at(file_.path());
  }

  const std::string& field(const std::string& name) const {
    const auto found = file_.metadata().find(name);
    if (found == file_.metadata().end()) throw damaged(name, "is not in the file's metadata");
    return found->second;
  }

  void check_same(const std::string& name, const std::string& here,
                  Code code = Code::failed_precondition) const {
    if (field(name) == here) return;
    throw Error(code, name + ": the file has " + field(name) + ", here it is " + here)
        .in("session")
        .field(name)
        .at(file_.path());
  }

  // Files of before there was such a hash have none.
  void check_tensors() const {
    if (!file_.metadata().contains("tensors_sha256")) return;
    NamedTensors tensors;
    for (const char* const name : kTensors) {
      if (file_.has(name)) tensors.emplace_back(name, file_.tensor(name));
    }
    if (field("tensors_sha256") == sha256_of(tensors)) return;
    throw damaged("tensors_sha256", "the tensors are not those that were saved");
  }

  // Files of before there were adapters do not say.
  void check_adapter() const {
    const std::string had = file_.metadata().contains("adapter_sha256") ? field("adapter_sha256")
                                                                        : adapter_text(nullptr);
    if (had == adapter_text(adapter_)) return;
    throw Error(Code::failed_precondition, "adapter: the file was made with " + had +
                                               ", the one given here is " + adapter_text(adapter_))
        .in("session")
        .field("adapter")
        .at(file_.path());
  }

  SessionOptions read_options() const {
    constexpr int64_t kMost = int64_t{1} << 40;
    const JsonPlace place{"session", file_.path(), "options"};
    const Json json = parse_json(field("options"), place);
    JsonFields fields(json, place);
    SessionOptions options;
    options.rope_length = fields.integer("rope_length", kRopeLengthFollow, kMost);
    options.context_length = fields.integer("context_length", 0, kMost);
    options.prefill_chunk = fields.integer("prefill_chunk", 0, kMost);
    options.raw_keys = fields.boolean("raw_keys");
    const Json* seed = fields.value("seed");
    if (seed == nullptr || !seed->is_number_unsigned())
      throw damaged("options.seed", "is no number");
    options.seed = seed->get<uint64_t>();
    options.deterministic = fields.boolean_or("deterministic", false);
    fields.finish();
    if (file_.has("positions")) {
      const ConstTensorView positions = file_.tensor("positions");
      if (positions.dtype != DType::f64 || positions.rank != 1) {
        throw damaged("positions", "must be a row of F64");
      }
      const auto* values = static_cast<const double*>(positions.data);
      options.positions.assign(values, values + positions.count());
    }
    return options;
  }

  void read_tokens(SessionState& state) const {
    if (!file_.has("tokens")) return;
    const ConstTensorView tokens = file_.tensor("tokens");
    if (tokens.dtype != DType::i32 || tokens.rank != 1)
      throw damaged("tokens", "must be a row of I32");
    const auto* ids = static_cast<const int32_t*>(tokens.data);
    const std::span<const int32_t> held(ids, static_cast<size_t>(tokens.count()));
    state.check_ids(held);
    state.check_room(tokens.count());
    state.tokens.assign(held.begin(), held.end());
  }

  int64_t read_declared_length() const {
    const JsonPlace place{"session", file_.path(), "declared_length"};
    const Json json = parse_json(field("declared_length"), place);
    if (!json.is_number_integer() || json.get<int64_t>() < 1) {
      throw damaged("declared_length", "must be a number of tokens");
    }
    return json.get<int64_t>();
  }

  ConstTensorView cache_tensor(const std::string& name, const SessionState& state) const {
    const KvLayout& layout = state.cache.layout();
    const ConstTensorView tensor = file_.tensor(name);
    const bool fits = tensor.rank == 4 && tensor.shape[0] == layout.n_layers &&
                      tensor.shape[1] == layout.n_kv_heads && tensor.shape[2] <= state.n_tokens() &&
                      tensor.shape[2] >= state.n_tokens() - 1 && tensor.shape[3] == layout.head_dim;
    if (!fits) throw damaged(name, "has another shape than the model's cache");
    if (tensor.dtype != layout.dtype) {
      throw Error(Code::failed_precondition,
                  name + ": the file has " + safetensors_name(tensor.dtype) +
                      ", this backend's cache is " + safetensors_name(layout.dtype))
          .in("session")
          .field(name)
          .at(file_.path());
    }
    return tensor;
  }

  void read_cache(SessionState& state) const {
    if (!file_.has("keys")) {
      if (state.n_tokens() > 1) throw damaged("keys", "are not in the file");
      return;
    }
    const ConstTensorView keys = cache_tensor("keys", state);
    const ConstTensorView values = cache_tensor("values", state);
    if (keys.shape[2] != values.shape[2]) throw damaged("values", "are not as many as the keys");

    const KvLayout& layout = state.cache.layout();
    const PageRows rows{layout, keys.shape[2]};
    const WorkspacePool::Lease workspace = model_->workspaces().borrow();
    Stream& stream = workspace->stream();
    state.cache.reserve(rows.n_cached, stream);
    std::vector<std::byte> page(layout.page_bytes());
    for (size_t i = 0; i < state.cache.pages().size(); ++i) {
      rows.for_each_run(static_cast<int64_t>(i) * layout.page_tokens,
                        [&](size_t in_page, size_t in_file, size_t size) {
                          std::memcpy(&page[in_page],
                                      static_cast<const std::byte*>(keys.data) + in_file, size);
                          std::memcpy(&page[in_page + layout.half_bytes()],
                                      static_cast<const std::byte*>(values.data) + in_file, size);
                        });
      stream.upload(state.cache.pages()[i], page.data(), page.size());
      stream.synchronize();
    }
    state.cache.advance(rows.n_cached);
  }

  std::shared_ptr<const Model> model_;
  SafetensorsFile file_;
  std::shared_ptr<const AdapterWeights> adapter_;
};

}  // namespace

void Session::save(const std::filesystem::path& path) {
  const SessionState& state = *state_;
  const KvLayout& layout = state.cache.layout();
  const PageRows rows{layout, state.cache.n_tokens()};
  const size_t bytes =
      static_cast<size_t>(layout.n_layers * layout.n_kv_heads * rows.n_cached) * rows.row_bytes();
  std::vector<std::byte> keys(bytes);
  std::vector<std::byte> values(bytes);

  const WorkspacePool::Lease workspace = state.model->workspaces().borrow();
  std::vector<std::byte> page(layout.page_bytes());
  for (size_t i = 0; i < state.cache.pages().size(); ++i) {
    workspace->stream().download(page.data(), state.cache.pages()[i], page.size());
    workspace->stream().synchronize();
    rows.for_each_run(static_cast<int64_t>(i) * layout.page_tokens,
                      [&](size_t in_page, size_t in_file, size_t size) {
                        std::memcpy(&keys[in_file], &page[in_page], size);
                        std::memcpy(&values[in_file], &page[in_page + layout.half_bytes()], size);
                      });
  }

  NamedTensors tensors;
  if (state.n_tokens() > 0) {
    tensors.emplace_back("tokens",
                         ConstTensorView(state.tokens.data(), DType::i32, {state.n_tokens()}));
  }
  if (rows.n_cached > 0) {
    const auto shaped = [&](const std::vector<std::byte>& data) {
      return ConstTensorView(data.data(), layout.dtype,
                             {layout.n_layers, layout.n_kv_heads, rows.n_cached, layout.head_dim});
    };
    tensors.emplace_back("keys", shaped(keys));
    tensors.emplace_back("values", shaped(values));
  }
  if (state.positions) {
    tensors.emplace_back("positions",
                         ConstTensorView(state.positions->data(), DType::f64,
                                         {static_cast<int64_t>(state.positions->size())}));
  }
  write_safetensors(path, tensors, metadata_of(state, tensors));
}

std::shared_ptr<Session> Session::restore(std::shared_ptr<const Model> model,
                                          const std::filesystem::path& path,
                                          std::shared_ptr<const AdapterWeights> adapter) {
  return std::shared_ptr<Session>(
      new Session(SavedSession(std::move(model), path, std::move(adapter)).restore()));
}

}  // namespace okapi
