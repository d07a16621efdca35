#include "runtime/plugin_host/elf_symbol.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/error.h"
#include "runtime/base/file.h"

namespace okapi {

namespace {

#if defined(__x86_64__)
constexpr int kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kMachine = EM_AARCH64;
#elif defined(__riscv)
constexpr int kMachine = EM_RISCV;
#elif defined(__powerpc64__)
constexpr int kMachine = EM_PPC64;
#else
#error "say which ELF machine this is"
#endif

// A plugin's entry is nine kilobytes. A symbol that claims much more is not one.
constexpr size_t kMaxSymbolBytes = size_t{1} << 20;

class FileDescriptor {
 public:
  explicit FileDescriptor(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) throw file_error("open", path, errno);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { ::close(fd_); }

  int get() const { return fd_; }

 private:
  int fd_;
};

class ElfFile {
 public:
  explicit ElfFile(const std::filesystem::path& path) : path_(path), file_(path) {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode)) fail("not a regular file");
    if (elf_version(EV_CURRENT) == EV_NONE) fail(elf_reason());
    elf_.reset(elf_begin(file_.get(), ELF_C_READ, nullptr));
    if (elf_ == nullptr || elf_kind(elf_.get()) != ELF_K_ELF) fail("not an ELF file");
    check_header();
  }

  std::vector<std::byte> symbol(const char* name) {
    GElf_Sym found{};
    if (!find(name, found)) fail(std::string("exports no ") + name + ": not an okapi plugin");
    if (GELF_ST_TYPE(found.st_info) != STT_OBJECT) fail(std::string(name) + " is not data");
    return contents(found, name);
  }

 private:
  static std::string elf_reason() {
    const char* reason = elf_errmsg(-1);
    return reason == nullptr ? "damaged ELF file" : std::string("damaged ELF file: ") + reason;
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(Code::invalid_argument, reason).in("plugin_host").at(path_.string());
  }

  void check_header() {
    GElf_Ehdr header{};
    if (gelf_getehdr(elf_.get(), &header) == nullptr) fail(elf_reason());
    if (header.e_type != ET_DYN) fail("not a shared library");
    const bool is_wide = gelf_getclass(elf_.get()) == ELFCLASS64;
    if (header.e_machine != kMachine || is_wide != (sizeof(void*) == 8)) {
      fail("built for another machine (ELF machine " + std::to_string(header.e_machine) +
           ", this one is " + std::to_string(kMachine) + ")");
    }
  }

  bool find(const char* name, GElf_Sym& found) {
    Elf_Scn* section = nullptr;
    while ((section = elf_nextscn(elf_.get(), section)) != nullptr) {
      GElf_Shdr header{};
      if (gelf_getshdr(section, &header) == nullptr) fail(elf_reason());
      if (header.sh_type != SHT_DYNSYM || header.sh_entsize == 0) continue;

      Elf_Data* data = elf_getdata(section, nullptr);
      if (data == nullptr) fail(elf_reason());
      const size_t n_symbols = data->d_size / header.sh_entsize;
      for (size_t i = 0; i < n_symbols; ++i) {
        GElf_Sym candidate{};
        if (gelf_getsym(data, static_cast<int>(i), &candidate) == nullptr) fail(elf_reason());
        const char* text = elf_strptr(elf_.get(), header.sh_link, candidate.st_name);
        if (text != nullptr && candidate.st_shndx != SHN_UNDEF && std::strcmp(text, name) == 0) {
          found = candidate;
          return true;
        }
      }
    }
    return false;
  }

  std::vector<std::byte> contents(const GElf_Sym& symbol, const char* name) {
    Elf_Scn* section = elf_getscn(elf_.get(), symbol.st_shndx);
    GElf_Shdr header{};
    if (section == nullptr || gelf_getshdr(section, &header) == nullptr) fail(elf_reason());
    Elf_Data* data = header.sh_type == SHT_NOBITS ? nullptr : elf_rawdata(section, nullptr);
    if (data == nullptr || data->d_buf == nullptr) {
      fail(std::string(name) + " is not in the file: it must be a constant");
    }
    const bool is_inside = symbol.st_value >= header.sh_addr &&
                           symbol.st_value - header.sh_addr <= data->d_size &&
                           symbol.st_size <= data->d_size - (symbol.st_value - header.sh_addr);
    if (!is_inside || symbol.st_size > kMaxSymbolBytes)
      fail(std::string(name) + " has a wrong size");
    const auto* begin =
        static_cast<const std::byte*>(data->d_buf) + (symbol.st_value - header.sh_addr);
    return {begin, begin + symbol.st_size};
  }

  struct ElfEnd {
    void operator()(Elf* elf) const { elf_end(elf); }
  };

  std::filesystem::path path_;
  FileDescriptor file_;
  std::unique_ptr<Elf, ElfEnd> elf_;
};

}  // namespace

std::vector<std::byte> read_elf_symbol(const std::filesystem::path& path, const char* symbol) {
  return ElfFile(path).symbol(symbol);
}

}  // namespace okapi
