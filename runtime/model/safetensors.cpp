#include "runtime/model/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace okapi {

namespace {

constexpr const char* kSafetensorsComponent = "safetensors";
constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr const char* kMetadataKey = "__metadata__";

struct FormatDtype {
  const char* name;
  uint64_t bits;
  std::optional<DType> dtype;  ///< none: the engine does not compute with it
};

constexpr std::array<FormatDtype, 20> kDtypes = {{
    {"F64", 64, DType::f64},   {"F32", 32, DType::f32}, {"F16", 16, DType::f16},
    {"BF16", 16, DType::bf16}, {"I64", 64, DType::i64}, {"I32", 32, DType::i32},
    {"U8", 8, DType::u8},      {"BOOL", 8, {}},         {"I8", 8, {}},
    {"I16", 16, {}},           {"U16", 16, {}},         {"U32", 32, {}},
    {"U64", 64, {}},           {"C64", 64, {}},         {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},        {"F8_E8M0", 8, {}},      {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},        {"F4", 4, {}},
}};

const FormatDtype* find_dtype(const std::string& name) {
  const auto* found =
      std::find_if(kDtypes.begin(), kDtypes.end(),
                   [&name](const FormatDtype& dtype) { return name == dtype.name; });
  return found == kDtypes.end() ? nullptr : &*found;
}

Error broken(const std::string& file, const std::string& field, const std::string& problem) {
  return Error(Code::data_loss, field + ": " + problem)
      .in(kSafetensorsComponent)
      .field(field)
      .at(file);
}

uint64_t read_little_endian(const std::byte* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<uint64_t>(bytes[i]);
  return value;
}

/// The bytes a tensor of this dtype and shape takes, or nothing when the product overflows or is
/// not a whole number of bytes.
std::optional<uint64_t> byte_count(const FormatDtype& dtype, const std::vector<int64_t>& shape) {
  uint64_t bits = dtype.bits;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits)) return std::nullopt;
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

/// The JSON header. It must start with its brace: the format allows no space before it.
std::string_view header_text(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.size() < kLengthBytes) {
    throw broken(file.path(), "header_length",
                 "wanted 8 bytes, found " + std::to_string(bytes.size()));
  }
  const uint64_t length = read_little_endian(bytes.data());
  if (length > kMaxHeaderBytes) {
    // What a clone without Git LFS has in place of the weights is a text that begins so.
    const bool is_pointer = std::memcmp(bytes.data(), "version https://git-lfs", kLengthBytes) == 0;
    throw broken(file.path(), "header_length",
                 is_pointer ? "this is a pointer of Git LFS, not the file itself: git lfs pull"
                            : "wanted at most " + std::to_string(kMaxHeaderBytes) + ", found " +
                                  std::to_string(length) + ": it is no safetensors file");
  }
  if (length > bytes.size() - kLengthBytes) {
    throw broken(file.path(), "header_length",
                 std::to_string(length) + " reaches past the end of the file (" +
                     std::to_string(bytes.size()) + " bytes)");
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data() + kLengthBytes);
  if (length == 0 || *text != '{') {
    throw broken(file.path(), "header", "wanted a JSON object right after the length");
  }
  return {text, length};
}

std::map<std::string, std::string> read_metadata(JsonFields& header) {
  const Json* json = header.value(kMetadataKey);
  std::map<std::string, std::string> metadata;
  if (json == nullptr) return metadata;
  JsonFields fields = header.object(kMetadataKey);
  for (const auto& item : json->items()) metadata[item.key()] = fields.text(item.key());
  return metadata;
}

}  // namespace

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t dim : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dim);
  }
  return text + "]";
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file(MappedFile::open(path));
  file.read_header();
  file.check_layout();
  file.copy_misaligned();
  return file;
}

void SafetensorsFile::read_header() {
  const std::string_view text = header_text(file_);
  data_start_ = kLengthBytes + text.size();

  const JsonPlace place{kSafetensorsComponent, file_.path(), ""};
  const Json json = parse_json(text, {kSafetensorsComponent, file_.path(), "header"},
                               {kMaxHeaderBytes, /*max_depth=*/4});
  JsonFields header(json, place);
  metadata_ = read_metadata(header);

  for (const std::string& name : header.unread()) {
    JsonFields fields = header.object(name);
    Entry entry;
    entry.dtype = fields.text("dtype");
    const FormatDtype* dtype = find_dtype(entry.dtype);
    if (dtype == nullptr) fields.fail("dtype", "unknown dtype " + entry.dtype);

    entry.shape = fields.integers("shape", 0, std::numeric_limits<int64_t>::max());
    const std::vector<int64_t> offsets =
        fields.integers("data_offsets", 0, std::numeric_limits<int64_t>::max());
    fields.finish();
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      fields.fail("data_offsets", "wanted [begin, end] with begin at most end");
    }
    entry.begin = static_cast<uint64_t>(offsets[0]);
    entry.end = static_cast<uint64_t>(offsets[1]);

    const uint64_t data_bytes = file_.bytes().size() - data_start_;
    if (entry.end > data_bytes) {
      fields.fail("data_offsets", "end " + std::to_string(entry.end) + " is past the " +
                                      std::to_string(data_bytes) + " bytes of data in the file");
    }
    const std::optional<uint64_t> wanted = byte_count(*dtype, entry.shape);
    if (!wanted) fields.fail("shape", "the size of the tensor overflows or is no whole byte");
    if (*wanted != entry.end - entry.begin) {
      fields.fail("data_offsets", "the shape needs " + std::to_string(*wanted) +
                                      " bytes, the offsets give " +
                                      std::to_string(entry.end - entry.begin));
    }
    entries_.emplace(name, std::move(entry));
  }

  // A null entry would pass as absent above.
  for (const auto& item : json.items()) {
    if (item.value().is_null()) header.fail(item.key(), "wanted an object, found null");
  }
}

void SafetensorsFile::check_layout() const {
  std::vector<const std::pair<const std::string, Entry>*> by_offset;
  for (const auto& item : entries_) by_offset.push_back(&item);
  std::sort(by_offset.begin(), by_offset.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });

  uint64_t covered = 0;
  for (const auto* item : by_offset) {
    const Entry& entry = item->second;
    const std::string field = item->first + ".data_offsets";
    if (entry.begin < covered) {
      throw broken(file_.path(), field,
                   "begin " + std::to_string(entry.begin) +
                       " lies inside the tensor before, which ends at " + std::to_string(covered));
    }
    if (entry.begin > covered) {
      throw broken(file_.path(), field,
                   "begin " + std::to_string(entry.begin) + " leaves a gap after byte " +
                       std::to_string(covered));
    }
    covered = entry.end;
  }
  const uint64_t data_bytes = file_.bytes().size() - data_start_;
  if (covered != data_bytes) {
    throw broken(file_.path(), "data_offsets",
                 "the tensors end at byte " + std::to_string(covered) +
                     " of the data, the file at " + std::to_string(data_bytes));
  }
}

/// Old files do not pad the header, so that a tensor may start at any byte; the engine reads whole
/// elements.
void SafetensorsFile::copy_misaligned() {
  for (auto& [name, entry] : entries_) {
    const std::optional<DType> dtype = find_dtype(entry.dtype)->dtype;
    if (!dtype || (data_start_ + entry.begin) % size_of(*dtype) == 0) continue;
    const auto bytes = file_.bytes().subspan(data_start_ + entry.begin, entry.end - entry.begin);
    entry.aligned_copy.assign(bytes.begin(), bytes.end());
  }
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& item : entries_) names.push_back(item.first);
  return names;
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw Error(Code::not_found, "the file holds no tensor " + name)
        .in(kSafetensorsComponent)
        .field(name)
        .at(file_.path());
  }
  return found->second;
}

const std::vector<int64_t>& SafetensorsFile::shape(const std::string& name) const {
  return entry(name).shape;
}

const std::string& SafetensorsFile::dtype(const std::string& name) const {
  return entry(name).dtype;
}

ConstTensorView SafetensorsFile::tensor(const std::string& name) const {
  const Entry& found = entry(name);
  const std::optional<DType> dtype = find_dtype(found.dtype)->dtype;
  if (!dtype || found.shape.size() > kMaxRank) {
    throw Error(Code::unimplemented,
                name + ": wanted F64, F32, F16, BF16, I64, I32 or U8 of at most " +
                    std::to_string(kMaxRank) + " dimensions, found " + found.dtype + " of " +
                    std::to_string(found.shape.size()))
        .in(kSafetensorsComponent)
        .field(name)
        .at(file_.path());
  }

  ConstTensorView view;
  view.dtype = *dtype;
  view.data = found.aligned_copy.empty() ? file_.bytes().data() + data_start_ + found.begin
                                         : found.aligned_copy.data();
  view.rank = static_cast<int>(found.shape.size());
  std::copy(found.shape.begin(), found.shape.end(), view.shape);

  // Strides of a tensor without elements may overflow, and no element is ever reached by them.
  int64_t stride = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    view.strides[axis] = stride;
    if (__builtin_mul_overflow(stride, view.shape[axis], &stride)) stride = 0;
  }
  return view;
}

}  // namespace okapi
