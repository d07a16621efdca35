// What the tests of training data share: plugins and tokenizers of the build, records given by
// hand.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/data/document_maker.h"
#include "runtime/data/open.h"
#include "runtime/data/token_store.h"
#include "runtime/data/window_source.h"
#include "tests/support/lines_plugins.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {

inline Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "wanted an error";
  return {Code::ok, ""};
}

inline WindowSources open(const Json& config, uint64_t seed = 1) {
  return open_window_sources(config, savanna_tokenizer(), lines_host(), seed);
}

/// The text of the learned tokens, one entry per run of them; control tokens in their spelling.
inline std::vector<std::string> learned_texts(const Tokenizer& tokenizer,
                                              const TokenWindow& window) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < window.ids.size(); ++i) {
    if (window.learned[i] == 0) continue;
    if (i == 0 || window.learned[i - 1] == 0) texts.emplace_back();
    const int32_t id = window.ids[i];
    texts.back() += tokenizer.is_control(id) ? tokenizer.piece(id) : tokenizer.decode({{id}});
  }
  return texts;
}

/// All of a text, with control tokens spelled.
inline std::string spelled(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) {
    text += tokenizer.is_control(id) ? tokenizer.piece(id) : tokenizer.decode({{id}});
  }
  return text;
}

inline TokenWindow window_of(const TokenDocument& document) {
  TokenWindow window{document.ids, std::vector<uint8_t>(document.ids.size(), 0), ""};
  for (const LearnedRange& range : document.learned) {
    for (uint32_t i = range.begin; i < range.end; ++i) window.learned[i] = 1;
  }
  return window;
}

/// Documents with ids 10, 11, 12 ...: all different, all learned. The vocabulary has 30000.
inline std::shared_ptr<const TokenStore> store_of(const std::vector<int64_t>& sizes) {
  MemoryTokens tokens(30'000, size_t{1} << 30);
  int32_t next = 10;
  for (size_t i = 0; i < sizes.size(); ++i) {
    TokenDocument document;
    for (int64_t k = 0; k < sizes[i]; ++k) document.append_one(next++, true);
    tokens.add(document, static_cast<int64_t>(i));
  }
  return tokens.finish("test", Json::object());
}

inline bool same(const TokenWindow& a, const TokenWindow& b) {
  return a.ids == b.ids && a.learned == b.learned && a.identity == b.identity;
}

}  // namespace okapi::test
