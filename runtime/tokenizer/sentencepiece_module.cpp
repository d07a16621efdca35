// The one user of sentencepiece. Built into a module of its own, see sentencepiece_module.h.

#include "runtime/tokenizer/sentencepiece_module.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

// sentencepiece's log level. Its place depends on the version and on the header installed, so both
// are looked up weakly: where neither exists, sentencepiece logs as it pleases.
namespace sentencepiece {
// NOLINTNEXTLINE(readability-identifier-naming): sentencepiece's own
__attribute__((weak)) void SetMinLogLevel(int level);
namespace logging {
// NOLINTNEXTLINE(readability-identifier-naming): sentencepiece's own
__attribute__((weak)) void SetMinLogLevel(int level);
}  // namespace logging
}  // namespace sentencepiece

namespace {

using sentencepiece::SentencePieceProcessor;

void silence_log() {
  constexpr int kNothingBelowFatal = 3;
  if (sentencepiece::logging::SetMinLogLevel != nullptr) {
    sentencepiece::logging::SetMinLogLevel(kNothingBelowFatal);
  } else if (sentencepiece::SetMinLogLevel != nullptr) {
    sentencepiece::SetMinLogLevel(kNothingBelowFatal);
  }
}

void set_message(okapi_sentencepiece_message* message, const char* text) {
  std::strncpy(message->text, text, sizeof message->text - 1);
  message->text[sizeof message->text - 1] = '\0';
}

/// Runs `work`, which throws on failure; true when it did not.
template <typename Work>
bool guarded(okapi_sentencepiece_message* message, Work work) noexcept {
  message->text[0] = '\0';
  message->is_out_of_memory = 0;
  try {
    work();
    return true;
  } catch (const std::bad_alloc& error) {
    set_message(message, error.what());
    message->is_out_of_memory = 1;
  } catch (const std::exception& error) {
    set_message(message, error.what());
  } catch (...) {
    set_message(message, "sentencepiece threw something that is no std::exception");
  }
  return false;
}

void require(const sentencepiece::util::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

/// A copy that release() frees; never null, so that an empty result is not mistaken for a failure.
template <typename T>
T* copied(const T* values, size_t count) {
  void* memory = std::malloc(std::max<size_t>(count * sizeof(T), 1));
  if (memory == nullptr) throw std::bad_alloc();
  if (count > 0) std::memcpy(memory, values, count * sizeof(T));
  return static_cast<T*>(memory);
}

const SentencePieceProcessor& processor_of(const void* handle) {
  return *static_cast<const SentencePieceProcessor*>(handle);
}

void* open_model(const char* model, size_t n_bytes, okapi_sentencepiece_ids* ids,
                 okapi_sentencepiece_message* message) {
  std::unique_ptr<SentencePieceProcessor> processor;
  const bool opened = guarded(message, [&] {
    silence_log();
    processor = std::make_unique<SentencePieceProcessor>();
    require(processor->LoadFromSerializedProto({model, n_bytes}));
    ids->n_pieces = processor->GetPieceSize();
    ids->unk = processor->unk_id();
    ids->bos = processor->bos_id();
    ids->eos = processor->eos_id();
    ids->pad = processor->pad_id();
  });
  return opened ? processor.release() : nullptr;
}

void close_model(void* handle) { delete static_cast<SentencePieceProcessor*>(handle); }

int32_t encode(const void* handle, const char* text, size_t n_bytes, int32_t** ids, size_t* n_ids,
               okapi_sentencepiece_message* message) {
  return guarded(message, [&] {
    std::vector<int> result;
    require(processor_of(handle).Encode({text, n_bytes}, &result));
    *ids = copied(result.data(), result.size());
    *n_ids = result.size();
  });
}

int32_t decode(const void* handle, const int32_t* ids, size_t n_ids, char** text, size_t* n_bytes,
               okapi_sentencepiece_message* message) {
  return guarded(message, [&] {
    std::string result;
    require(processor_of(handle).Decode(std::vector<int>(ids, ids + n_ids), &result));
    *text = copied(result.data(), result.size());
    *n_bytes = result.size();
  });
}

void release(void* result) { std::free(result); }

const char* piece(const void* handle, int32_t id, size_t* n_bytes) {
  const std::string& text = processor_of(handle).IdToPiece(id);
  *n_bytes = text.size();
  return text.data();
}

int32_t is_control(const void* handle, int32_t id) { return processor_of(handle).IsControl(id); }

}  // namespace

extern "C" __attribute__((visibility("default")))
const okapi_sentencepiece_module_v1 okapi_sentencepiece_module = {
    OKAPI_SENTENCEPIECE_MODULE_VERSION,
    sizeof(okapi_sentencepiece_module_v1),
    open_model,
    close_model,
    encode,
    decode,
    release,
    piece,
    is_control};
