// Text to token ids and back.
//
//   auto tokenizer = Tokenizer::open("model/tokenizer.model", {"/usr/lib/okapi/tokenizers"});
//   std::vector<int32_t> ids = tokenizer->encode("A lion roams.", /*add_bos=*/true);
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace okapi {

/// A sentencepiece model. Immutable: every member may be called from several threads at once.
class Tokenizer {
 public:
  /// `module_dirs`: where the module that wraps sentencepiece may lie, tried in order. Throws
  /// not_found (the model, or the module: then the message lists all that was tried), data_loss
  /// naming the field that is wrong in a corrupt model.
  static std::shared_ptr<const Tokenizer> open(
      const std::filesystem::path& path, const std::vector<std::filesystem::path>& module_dirs);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// The ids of the text, as sentencepiece gives them: text that spells a control piece ("<s>") is
  /// text. With `add_bos` the beginning-of-text id comes first; failed_precondition if there is
  /// none.
  std::vector<int32_t> encode(std::string_view text, bool add_bos) const;

  /// The text of the ids; control pieces give nothing. Throws out_of_range naming a wrong id.
  std::string decode(std::span<const int32_t> ids) const;

  /// The same for what a model wrote: ids past the last piece, which a model whose embedding is
  /// padded may choose, give nothing.
  std::string decode_output(std::span<const int32_t> ids) const;

  int32_t vocab_size() const { return vocab_size_; }
  int32_t bos_id() const { return bos_id_; }  ///< -1: none; so the others
  int32_t eos_id() const { return eos_id_; }
  int32_t unk_id() const { return unk_id_; }
  int32_t pad_id() const { return pad_id_; }

  std::string piece(int32_t id) const;  ///< as the model spells it: "\u2581the", "<0x0A>"
  bool is_control(int32_t id) const;    ///< <s>, </s> and the like
  const std::string& sha256() const { return sha256_; }  ///< of the model file
  const std::string& path() const { return path_; }

 private:
  struct Module;

  Tokenizer() = default;
  void check_id(int32_t id) const;

  std::shared_ptr<const Module> module_;
  void* processor_ = nullptr;
  std::string path_;
  std::string sha256_;
  int32_t vocab_size_ = 0;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  int32_t unk_id_ = -1;
  int32_t pad_id_ = -1;
};

}  // namespace okapi
