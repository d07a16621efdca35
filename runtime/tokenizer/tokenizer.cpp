#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>
#include <iterator>
#include <new>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/sha256.h"
#include "runtime/base/shared_library.h"
#include "runtime/tokenizer/model_proto_check.h"
#include "runtime/tokenizer/sentencepiece_module.h"

namespace okapi {

namespace {

constexpr const char* kTokenizerComponent = "tokenizer";

// sentencepiece counts bytes with int.
constexpr size_t kMaxTextBytes = size_t{1} << 30;
constexpr size_t kMaxModelBytes = size_t{1} << 30;

[[noreturn]] void fail(Code code, const std::string& problem, const std::string& file) {
  throw Error(code, problem).in(kTokenizerComponent).at(file);
}

void check_memory(const okapi_sentencepiece_message& message) {
  if (message.is_out_of_memory != 0) throw std::bad_alloc();
}

}  // namespace

struct Tokenizer::Module {
  SharedLibrary library;
  const okapi_sentencepiece_module_v1* table;

  static std::shared_ptr<const Module> open(const std::vector<std::filesystem::path>& directories);
};

std::shared_ptr<const Tokenizer::Module> Tokenizer::Module::open(
    const std::vector<std::filesystem::path>& directories) {
  std::string tried;
  for (const std::filesystem::path& directory : directories) {
    const std::filesystem::path path = directory / OKAPI_SENTENCEPIECE_MODULE_FILE;
    try {
      SharedLibrary library = SharedLibrary::open(path, Isolation::deep);
      const auto* table = static_cast<const okapi_sentencepiece_module_v1*>(
          library.symbol(OKAPI_SENTENCEPIECE_MODULE_SYMBOL));
      if (table->version == OKAPI_SENTENCEPIECE_MODULE_VERSION &&
          table->struct_size == sizeof(okapi_sentencepiece_module_v1)) {
        return std::make_shared<const Module>(Module{std::move(library), table});
      }
      tried += "\n  " + path.string() + ": wanted version " +
               std::to_string(OKAPI_SENTENCEPIECE_MODULE_VERSION) + ", found " +
               std::to_string(table->version);
    } catch (const Error& error) {
      tried += "\n  " + path.string() + ": " + error.message();
    }
  }
  throw Error(Code::not_found,
              std::string("no module ") + OKAPI_SENTENCEPIECE_MODULE_FILE +
                  " could be opened; tried:" + (tried.empty() ? " nothing" : tried))
      .in(kTokenizerComponent)
      .field(OKAPI_SENTENCEPIECE_MODULE_FILE);
}

std::shared_ptr<const Tokenizer> Tokenizer::open(
    const std::filesystem::path& path, const std::vector<std::filesystem::path>& module_dirs) {
  const MappedFile file = MappedFile::open(path);
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()),
                               file.bytes().size());
  if (bytes.size() > kMaxModelBytes) {
    fail(Code::resource_exhausted, "wanted a model of at most 2^30 bytes", file.path());
  }
  check_model_proto(bytes, file.path());

  const std::shared_ptr<Tokenizer> tokenizer(new Tokenizer);
  tokenizer->module_ = Module::open(module_dirs);
  tokenizer->path_ = file.path();
  tokenizer->sha256_ = sha256_of(bytes.data(), bytes.size());

  okapi_sentencepiece_ids ids{};
  okapi_sentencepiece_message message{};
  tokenizer->processor_ =
      tokenizer->module_->table->open(bytes.data(), bytes.size(), &ids, &message);
  if (tokenizer->processor_ == nullptr) {
    check_memory(message);
    throw Error(Code::data_loss, std::string("model: sentencepiece refuses it: ") + message.text)
        .in(kTokenizerComponent)
        .field("model")
        .at(file.path());
  }
  tokenizer->vocab_size_ = ids.n_pieces;
  tokenizer->bos_id_ = ids.bos;
  tokenizer->eos_id_ = ids.eos;
  tokenizer->unk_id_ = ids.unk;
  tokenizer->pad_id_ = ids.pad;
  return tokenizer;
}

Tokenizer::~Tokenizer() {
  if (processor_ != nullptr) module_->table->close(processor_);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_bos) const {
  if (add_bos && bos_id_ < 0) {
    fail(Code::failed_precondition, "the model has no beginning-of-text piece", path_);
  }
  if (text.size() > kMaxTextBytes) {
    fail(Code::invalid_argument,
         "wanted at most 2^30 bytes of text, found " + std::to_string(text.size()), path_);
  }

  int32_t* ids = nullptr;
  size_t n_ids = 0;
  okapi_sentencepiece_message message{};
  if (module_->table->encode(processor_, text.data(), text.size(), &ids, &n_ids, &message) == 0) {
    check_memory(message);
    fail(Code::internal, std::string("cannot encode: ") + message.text, path_);
  }
  const std::shared_ptr<int32_t> owner(ids, module_->table->release);

  std::vector<int32_t> result;
  result.reserve(n_ids + 1);
  if (add_bos) result.push_back(bos_id_);
  result.insert(result.end(), ids, ids + n_ids);
  return result;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  for (const int32_t id : ids) check_id(id);
  char* text = nullptr;
  size_t n_bytes = 0;
  okapi_sentencepiece_message message{};
  if (module_->table->decode(processor_, ids.data(), ids.size(), &text, &n_bytes, &message) == 0) {
    check_memory(message);
    fail(Code::internal, std::string("cannot decode: ") + message.text, path_);
  }
  const std::shared_ptr<char> owner(text, module_->table->release);
  return {text, n_bytes};
}

std::string Tokenizer::decode_output(std::span<const int32_t> ids) const {
  const auto is_piece = [this](int32_t id) { return id < vocab_size_; };
  if (std::all_of(ids.begin(), ids.end(), is_piece)) return decode(ids);
  std::vector<int32_t> pieces;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(pieces), is_piece);
  return decode(pieces);
}

void Tokenizer::check_id(int32_t id) const {
  if (id >= 0 && id < vocab_size_) return;
  throw Error(Code::out_of_range, "wanted a token id from 0 to " + std::to_string(vocab_size_ - 1) +
                                      ", found " + std::to_string(id))
      .in(kTokenizerComponent)
      .field("id")
      .at(path_);
}

std::string Tokenizer::piece(int32_t id) const {
  check_id(id);
  size_t n_bytes = 0;
  const char* text = module_->table->piece(processor_, id, &n_bytes);
  return {text, n_bytes};
}

bool Tokenizer::is_control(int32_t id) const {
  check_id(id);
  return module_->table->is_control(processor_, id) != 0;
}

}  // namespace okapi
