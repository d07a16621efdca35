#include "runtime/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "runtime/base/mapped_file.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

template <typename Action>
Code code_of(Action action) {
  try {
    action();
    return Code::ok;
  } catch (const Error& error) {
    EXPECT_FALSE(error.file().empty());
    return error.code();
  }
}

TEST(MappedFileTest, ShowsTheBytesAndSurvivesAMove) {
  const TemporaryFolder folder;
  MappedFile first = MappedFile::open(folder.write("a", "okapi"));
  const MappedFile second = std::move(first);
  ASSERT_EQ(second.bytes().size(), 5U);
  EXPECT_EQ(std::memcmp(second.bytes().data(), "okapi", 5), 0);
  EXPECT_TRUE(first.bytes().empty());  // NOLINT(bugprone-use-after-move): moved from means empty
}

TEST(MappedFileTest, SaysWhyItCannotOpen) {
  const TemporaryFolder folder;
  const auto open = [](const std::filesystem::path& path) {
    return code_of([&path] { MappedFile::open(path); });
  };
  EXPECT_EQ(open(folder.path() / "absent"), Code::not_found);
  EXPECT_EQ(open(folder.path()), Code::invalid_argument);
  EXPECT_EQ(open(folder.write("empty", "")), Code::invalid_argument);
  EXPECT_EQ(open("/dev/null"), Code::invalid_argument);
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(open(pipe), Code::invalid_argument);
  if (::geteuid() != 0) {  // root reads everything
    const auto locked = folder.write("locked", "x");
    ::chmod(locked.c_str(), 0);
    EXPECT_EQ(open(locked), Code::permission_denied);
  }
}

TEST(FileTest, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a";
  write_file_atomically(path, "first");
  write_file_atomically(path, "second");
  EXPECT_EQ(read_file(path, 100), "second");
  EXPECT_EQ(read_file(folder.write("empty", ""), 100), "");
  EXPECT_EQ(code_of([&path] { read_file(path, 3); }), Code::resource_exhausted);
}

TEST(FileTest, AWriteThatFailsLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", "old");
  EXPECT_THROW(write_file_atomically(path,
                                     [](const FileWriter& write) {
                                       const std::byte half[4] = {};
                                       write(half);
                                       throw Error(Code::internal, "in the middle");
                                     }),
               Error);
  EXPECT_EQ(read_file(path, 100), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_EQ(code_of([&folder] { write_file_atomically(folder.path() / "no" / "file", "x"); }),
            Code::not_found);
}

TEST(FileTest, PutsNoFileInThePlaceOfAnythingElse) {
  const TemporaryFolder folder;
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const auto link = folder.path() / "link";
  std::filesystem::create_symlink("/dev/null", link);
  std::filesystem::create_directory(folder.path() / "folder");
  for (const auto& place : {pipe, link, folder.path() / "folder"}) {
    EXPECT_EQ(code_of([&place] { write_file_atomically(place, "x"); }), Code::invalid_argument);
  }
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 3);
}

TEST(FileTest, WritesWithTheUsualRights) {
  const TemporaryFolder folder;
  const mode_t mask = ::umask(022);
  write_file_atomically(folder.path() / "a", "x");
  ::umask(mask);
  struct stat info {};
  ASSERT_EQ(::stat((folder.path() / "a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644U);
}

}  // namespace
}  // namespace okapi::test
