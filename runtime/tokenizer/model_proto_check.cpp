#include "runtime/tokenizer/model_proto_check.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/utf8.h"

namespace okapi {

namespace {

// How protobuf writes a field's value.
namespace wire_type {
constexpr uint32_t kVarint = 0, kEightBytes = 1, kBytes = 2, kFourBytes = 5;
}
// Numbers of sentencepiece_model.proto.
namespace model_field {
constexpr uint32_t kPieces = 1, kTrainer = 2, kNormalizer = 3, kSelfTest = 4, kDenormalizer = 5;
}
namespace piece_field {
constexpr uint32_t kText = 1, kScore = 2, kType = 3;
}
namespace trainer_field {
constexpr uint32_t kModelType = 3, kByteFallback = 35, kUnkId = 40, kPadId = 43;
}
namespace normalizer_field {
constexpr uint32_t kCharsmap = 2;
}
namespace self_test_field {
constexpr uint32_t kSamples = 1;
}
enum PieceType : uint64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

constexpr size_t kMaxPieces = size_t{1} << 24;
constexpr size_t kMaxPieceBytes = 8000;
constexpr size_t kMaxNestedSymbols = 64;  // sentencepiece's own buffer

struct Field {
  uint32_t number = 0;
  uint32_t wire_type = 0;  // one of wire_type
  uint64_t value = 0;      // of numbers
  std::string_view bytes;  // of kBytes
};

/// Knows where the whole file begins, so that errors can give offsets.
class Place {
 public:
  Place(std::string_view file_bytes, const std::string& file)
      : begin_(file_bytes.data()), file_(file) {}

  [[noreturn]] void fail(const std::string& field, const std::string& problem,
                         const char* where) const {
    throw Error(Code::data_loss, field + ": " + problem)
        .in("tokenizer")
        .field(field)
        .at(file_, where - begin_);
  }

 private:
  const char* begin_;
  const std::string& file_;
};

/// The fields of one protobuf message, in order.
class MessageReader {
 public:
  MessageReader(std::string_view bytes, std::string name, const Place& place)
      : at_(bytes.data()),
        end_(bytes.data() + bytes.size()),
        name_(std::move(name)),
        place_(place) {}

  std::optional<Field> next() {
    if (at_ == end_) return std::nullopt;
    Field field;
    const uint64_t tag = read_varint();
    field.number = static_cast<uint32_t>(tag >> 3);
    field.wire_type = static_cast<uint32_t>(tag & 7);
    if (field.number == 0 || tag >> 32 != 0) fail("a field without a number");
    switch (field.wire_type) {
      case wire_type::kVarint:
        field.value = read_varint();
        break;
      case wire_type::kEightBytes:
        field.value = read_fixed(8);
        break;
      case wire_type::kBytes:
        field.bytes = read_bytes();
        break;
      case wire_type::kFourBytes:
        field.value = read_fixed(4);
        break;
      default:
        fail("a field of unknown wire type " + std::to_string(field.wire_type));
    }
    return field;
  }

  [[noreturn]] void fail(const std::string& problem) const { place_.fail(name_, problem, at_); }
  [[noreturn]] void fail(const std::string& field, const std::string& problem) const {
    place_.fail(name_.empty() ? field : name_ + "." + field, problem, at_);
  }

 private:
  uint64_t read_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) fail("cut off in the middle of a number");
      const auto byte = static_cast<unsigned char>(*at_++);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    fail("a number of more than 64 bits");
  }

  uint64_t read_fixed(size_t n_bytes) {
    const std::string_view bytes = take(n_bytes);
    uint64_t value = 0;
    for (size_t i = n_bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  std::string_view read_bytes() { return take(read_varint()); }

  std::string_view take(uint64_t n_bytes) {
    const auto left = static_cast<uint64_t>(end_ - at_);
    if (n_bytes > left) {
      fail("wanted " + std::to_string(n_bytes) + " bytes, found " + std::to_string(left));
    }
    const std::string_view bytes(at_, n_bytes);
    at_ += n_bytes;
    return bytes;
  }

  const char* at_;
  const char* end_;
  std::string name_;
  const Place& place_;
};

struct Piece {
  std::string_view text;
  uint64_t type = kNormal;
};

struct Trainer {
  bool byte_fallback = false;
  std::map<uint32_t, int64_t> special_ids;  // by field number
};

void require_wire_type(const MessageReader& reader, const Field& field, uint32_t wanted,
                       const std::string& name) {
  if (field.wire_type != wanted) reader.fail(name, "stored as another type of number");
}

/// "<0x0A>" and nothing else, as sentencepiece spells the byte 10.
std::optional<int> byte_of_piece(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  int value = 0;
  for (const char digit : text.substr(3, 2)) {
    const std::string_view digits = "0123456789ABCDEF";
    const size_t found = digits.find(digit);
    if (found == std::string_view::npos) return std::nullopt;
    value = 16 * value + static_cast<int>(found);
  }
  return value;
}

Piece read_piece(std::string_view bytes, const std::string& name, const Place& place) {
  MessageReader reader(bytes, name, place);
  Piece piece;
  std::set<uint32_t> seen;
  while (const std::optional<Field> field = reader.next()) {
    const bool repeated = !seen.insert(field->number).second;
    if (repeated && field->number <= piece_field::kType) reader.fail("a field appears twice");
    if (field->number == piece_field::kText) {
      require_wire_type(reader, *field, wire_type::kBytes, "piece");
      piece.text = field->bytes;
    } else if (field->number == piece_field::kScore) {
      require_wire_type(reader, *field, wire_type::kFourBytes, "score");
      const auto score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
      if (!std::isfinite(score)) reader.fail("score", "wanted a finite number");
    } else if (field->number == piece_field::kType) {
      require_wire_type(reader, *field, wire_type::kVarint, "type");
      if (field->value < kNormal || field->value > kByte) {
        reader.fail("type", "wanted 1 to 6, found " + std::to_string(field->value));
      }
      piece.type = field->value;
    }
  }
  if (piece.text.empty()) reader.fail("piece", "wanted a text, found nothing");
  if (piece.text.size() >= kMaxPieceBytes) reader.fail("piece", "longer than 8000 bytes");
  if (piece.text.find('\0') != std::string_view::npos) reader.fail("piece", "holds a zero byte");
  if (!is_valid_utf8(piece.text)) reader.fail("piece", "not UTF-8");
  return piece;
}

Trainer read_trainer(std::string_view bytes, const Place& place) {
  MessageReader reader(bytes, "trainer_spec", place);
  Trainer trainer;
  while (const std::optional<Field> field = reader.next()) {
    if (field->number == trainer_field::kModelType) {
      require_wire_type(reader, *field, wire_type::kVarint, "model_type");
      if (field->value < 1 || field->value > 4) {
        reader.fail("model_type", "wanted 1 to 4, found " + std::to_string(field->value));
      }
    } else if (field->number == trainer_field::kByteFallback) {
      require_wire_type(reader, *field, wire_type::kVarint, "byte_fallback");
      if (field->value > 1) reader.fail("byte_fallback", "wanted 0 or 1");
      trainer.byte_fallback = field->value == 1;
    } else if (field->number >= trainer_field::kUnkId && field->number <= trainer_field::kPadId) {
      require_wire_type(reader, *field, wire_type::kVarint, "special ids");
      trainer.special_ids[field->number] = static_cast<int64_t>(field->value);
    }
  }
  return trainer;
}

void check_normalizer(std::string_view bytes, const std::string& name, const Place& place) {
  MessageReader reader(bytes, name, place);
  while (const std::optional<Field> field = reader.next()) {
    if (field->number != normalizer_field::kCharsmap) continue;
    require_wire_type(reader, *field, wire_type::kBytes, "precompiled_charsmap");
    const std::string fault = find_charsmap_fault(field->bytes);
    if (!fault.empty()) reader.fail("precompiled_charsmap", fault);
  }
}

/// Every field there well-formed; the texts are only ever encoded.
void check_self_test(std::string_view bytes, const Place& place) {
  MessageReader reader(bytes, "self_test_data", place);
  while (const std::optional<Field> field = reader.next()) {
    if (field->number != self_test_field::kSamples) continue;
    require_wire_type(reader, *field, wire_type::kBytes, "samples");
    MessageReader sample(field->bytes, "self_test_data.samples", place);
    while (sample.next()) {
    }
  }
}

void check_bytes(const std::vector<Piece>& pieces, bool byte_fallback, const Place& place,
                 const char* end) {
  std::set<int> found;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].type != kByte) continue;
    const std::string name = "pieces[" + std::to_string(i) + "]";
    const std::optional<int> byte = byte_of_piece(pieces[i].text);
    if (!byte) place.fail(name + ".piece", "wanted a byte such as <0x0A>", pieces[i].text.data());
    if (!byte_fallback) {
      place.fail(name + ".type", "a byte, although trainer_spec.byte_fallback is off",
                 pieces[i].text.data());
    }
    found.insert(*byte);
  }
  if (byte_fallback && found.size() != 256) {
    place.fail("trainer_spec.byte_fallback",
               "wanted 256 byte pieces, found " + std::to_string(found.size()), end);
  }
}

/// sentencepiece keeps the user's symbols that begin a text in a buffer of 64.
void check_nested_symbols(const std::vector<Piece>& pieces, const Place& place) {
  std::vector<std::string_view> symbols;
  for (const Piece& piece : pieces) {
    if (piece.type == kUserDefined) symbols.push_back(piece.text);
  }
  std::sort(symbols.begin(), symbols.end());
  std::vector<std::string_view> prefixes;  // each begins with the one before
  for (const std::string_view symbol : symbols) {
    while (!prefixes.empty() && !symbol.starts_with(prefixes.back())) prefixes.pop_back();
    prefixes.push_back(symbol);
    if (prefixes.size() > kMaxNestedSymbols) {
      place.fail("pieces.piece", "more than 64 user symbols begin one another", symbol.data());
    }
  }
}

void check_pieces(const std::vector<Piece>& pieces, const Trainer& trainer, const Place& place,
                  const char* end) {
  if (pieces.empty()) place.fail("pieces", "wanted at least one piece, found none", end);

  std::unordered_set<std::string_view> texts;
  size_t n_unknown = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!texts.insert(pieces[i].text).second) {
      place.fail("pieces[" + std::to_string(i) + "].piece", "the piece appears twice",
                 pieces[i].text.data());
    }
    if (pieces[i].type == kUnknown) ++n_unknown;
  }
  if (n_unknown != 1) {
    place.fail("pieces.type", "wanted one unknown piece, found " + std::to_string(n_unknown), end);
  }

  for (const auto& [number, id] : trainer.special_ids) {
    const char* const names[] = {"unk_id", "bos_id", "eos_id", "pad_id"};
    if (id < -1 || id >= static_cast<int64_t>(pieces.size())) {
      place.fail(
          std::string("trainer_spec.") + names[number - trainer_field::kUnkId],
          "wanted -1 to " + std::to_string(pieces.size() - 1) + ", found " + std::to_string(id),
          end);
    }
  }
  check_bytes(pieces, trainer.byte_fallback, place, end);
  check_nested_symbols(pieces, place);
}

}  // namespace

void check_model_proto(std::string_view bytes, const std::string& file) {
  const Place place(bytes, file);
  MessageReader reader(bytes, "model", place);
  std::vector<Piece> pieces;
  Trainer trainer;
  std::set<uint32_t> seen;

  while (const std::optional<Field> field = reader.next()) {
    if (field->number > model_field::kDenormalizer) continue;
    if (field->wire_type != wire_type::kBytes) reader.fail("wanted a message, found a number");
    if (field->number == model_field::kPieces) {
      if (pieces.size() == kMaxPieces) reader.fail("pieces", "more than 2^24 pieces");
      const std::string name = "pieces[" + std::to_string(pieces.size()) + "]";
      pieces.push_back(read_piece(field->bytes, name, place));
      continue;
    }
    if (!seen.insert(field->number).second) reader.fail("a part of the model appears twice");
    switch (field->number) {
      case model_field::kTrainer:
        trainer = read_trainer(field->bytes, place);
        break;
      case model_field::kNormalizer:
        check_normalizer(field->bytes, "normalizer_spec", place);
        break;
      case model_field::kSelfTest:
        check_self_test(field->bytes, place);
        break;
      case model_field::kDenormalizer:
        check_normalizer(field->bytes, "denormalizer_spec", place);
        break;
    }
  }
  check_pieces(pieces, trainer, place, bytes.data() + bytes.size());
}

}  // namespace okapi
