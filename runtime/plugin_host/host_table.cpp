#include "runtime/plugin_host/host_table.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/plugin_host/plugin_call.h"
#include "runtime/plugin_host/text_fit.h"

namespace okapi {

namespace {

const TokenizerFunctions& functions_of(const okapi_tokenizer_service_v1* service) {
  return *static_cast<const TokenizerFunctions*>(service->context);
}

template <typename Body>
int32_t answer(const okapi_error_sink* sink, Body&& body) noexcept {
  try {
    body();
    return OKAPI_OK;
  } catch (...) {
    return report_exception(sink);
  }
}

/// Copies what fits and tells the whole size; a buffer that was given must be large enough.
template <typename T, typename Source>
void copy_out(const Source& from, T* to, int64_t capacity, int64_t* needed) {
  *needed = static_cast<int64_t>(from.size());
  if (to == nullptr) return;
  std::copy_n(from.begin(), std::clamp<int64_t>(*needed, 0, std::max<int64_t>(capacity, 0)), to);
  if (*needed > capacity) {
    throw Error(Code::out_of_range, "the buffer holds " + std::to_string(capacity) +
                                        ", needed are " + std::to_string(*needed));
  }
}

int32_t encode(const okapi_tokenizer_service_v1* service, const char* text, int64_t n_bytes,
               int32_t add_bos, int32_t* ids, int64_t capacity, int64_t* n_ids,
               const okapi_error_sink* sink) {
  return answer(sink, [&] {
    const std::string_view view(text, static_cast<size_t>(n_bytes));
    copy_out(functions_of(service).encode(view, add_bos != 0), ids, capacity, n_ids);
  });
}

int32_t decode(const okapi_tokenizer_service_v1* service, const int32_t* ids, int64_t n_ids,
               char* text, int64_t capacity, int64_t* n_bytes, const okapi_error_sink* sink) {
  return answer(sink, [&] {
    const std::span<const int32_t> view(ids, static_cast<size_t>(n_ids));
    copy_out(functions_of(service).decode(view), text, capacity, n_bytes);
  });
}

int32_t count(const okapi_tokenizer_service_v1* service, const char* text, int64_t n_bytes,
              int32_t add_bos, int64_t* n_ids, const okapi_error_sink* sink) {
  return encode(service, text, n_bytes, add_bos, nullptr, 0, n_ids, sink);
}

int32_t fit(const okapi_tokenizer_service_v1* service, const char* head, const char* const* pieces,
            int64_t n_pieces, const char* tail, int32_t add_bos, int64_t max_tokens,
            int64_t* n_fitting, int64_t* n_tokens, const okapi_error_sink* sink) {
  return answer(sink, [&] {
    const std::span<const char* const> parts(pieces, static_cast<size_t>(n_pieces));
    const TextFit found =
        fit_pieces(functions_of(service), head, parts, tail, add_bos != 0, max_tokens);
    *n_fitting = found.n_pieces;
    *n_tokens = found.n_tokens;
  });
}

Random resumed(const okapi_random& state) {
  Random random(state.seed, state.stream);
  random.seek(state.counter);
  return random;
}

template <typename Draw>
auto draw(okapi_random* state, Draw&& take) {
  Random random = resumed(*state);
  auto value = take(random);
  state->counter = random.counter();
  return value;
}

}  // namespace

okapi_random make_random(uint64_t seed, uint64_t stream) {
  okapi_random random{};
  random.struct_size = sizeof random;
  random.seed = seed;
  random.stream = stream;
  random.next = [](okapi_random* state) {
    return draw(state, [](Random& source) { return source.next(); });
  };
  random.uniform = [](okapi_random* state) {
    return draw(state, [](Random& source) { return source.uniform(); });
  };
  random.uniform_int = [](okapi_random* state, int64_t low, int64_t high) {
    return draw(state, [=](Random& source) { return source.uniform_int(low, high); });
  };
  return random;
}

HostTable::HostTable(std::shared_ptr<const Logger> logger, std::string component,
                     std::shared_ptr<const TokenizerFunctions> tokenizer)
    : logger_(std::move(logger)),
      component_(std::move(component)),
      tokenizer_(std::move(tokenizer)) {
  table_.struct_size = sizeof table_;
  table_.abi_major = OKAPI_PLUGIN_ABI_MAJOR;
  table_.abi_minor = OKAPI_PLUGIN_ABI_MINOR;
  table_.version = OKAPI_VERSION_TEXT;
  table_.context = this;
  table_.get_extension = [](const okapi_host* host, const char* id) -> const void* {
    return id == nullptr ? nullptr : static_cast<const HostTable*>(host->context)->extension(id);
  };
  table_.allocate = [](const okapi_host*, size_t n_bytes) {
    return std::malloc(std::max<size_t>(n_bytes, 1));
  };
  table_.release = [](const okapi_host*, void* memory) { std::free(memory); };
  table_.log = [](const okapi_host* host, int32_t level, const char* message) {
    const auto* self = static_cast<const HostTable*>(host->context);
    self->log(level, self->component_, message);
  };
  table_.random = [](const okapi_host*, uint64_t seed, uint64_t stream, okapi_random* random) {
    *random = make_random(seed, stream);
  };

  log_service_.struct_size = sizeof log_service_;
  log_service_.context = this;
  log_service_.log = [](const okapi_log_service_v1* service, int32_t level, const char* speaker,
                        const char* message) {
    const auto* self = static_cast<const HostTable*>(service->context);
    self->log(level, speaker == nullptr ? self->component_ : speaker, message);
  };
  if (tokenizer_ != nullptr) fill_tokenizer();
}

void HostTable::fill_tokenizer() {
  tokenizer_service_.struct_size = sizeof tokenizer_service_;
  tokenizer_service_.vocab_size = tokenizer_->vocab_size;
  tokenizer_service_.bos_id = tokenizer_->bos_id;
  tokenizer_service_.eos_id = tokenizer_->eos_id;
  // Plugins get it as a constant; the C field has no const to give.
  tokenizer_service_.context = const_cast<TokenizerFunctions*>(tokenizer_.get());
  tokenizer_service_.encode = encode;
  tokenizer_service_.decode = decode;
  tokenizer_service_.count = count;
  tokenizer_service_.fit = fit;
}

const void* HostTable::extension(std::string_view id) const {
  if (id == OKAPI_LOG_SERVICE) return &log_service_;
  if (id == OKAPI_TOKENIZER_SERVICE && tokenizer_ != nullptr) return &tokenizer_service_;
  return nullptr;
}

void HostTable::log(int32_t level, std::string_view component, const char* message) const {
  if (logger_ == nullptr || message == nullptr) return;
  const int32_t known = std::clamp(level, OKAPI_HOST_LOG_TRACE, OKAPI_HOST_LOG_ERROR);
  try {
    // Levels of the C ABI leave 0 for "default"; the engine's begin there.
    logger_->log(static_cast<LogLevel>(known - OKAPI_HOST_LOG_TRACE), component, message);
  } catch (...) {
    return;  // a message that could not be logged is no reason to fail its writer
  }
}

}  // namespace okapi
