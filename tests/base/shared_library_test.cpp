#include "runtime/base/shared_library.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

std::filesystem::path library(int number) {
  return std::filesystem::path(OKAPI_TEST_LIBRARIES) /
         ("symbols_" + std::to_string(number) + ".so");
}

int call(const SharedLibrary& opened, const char* name) {
  return reinterpret_cast<int (*)()>(opened.symbol(name))();
}

TEST(SharedLibraryTest, SymbolsOfOneAreInvisibleToAnother) {
  for (const Isolation isolation : {Isolation::local, Isolation::deep}) {
    const SharedLibrary one = SharedLibrary::open(library(1), isolation);
    const SharedLibrary two = SharedLibrary::open(library(2), isolation);
    EXPECT_EQ(call(one, "ask"), 1);
    EXPECT_EQ(call(two, "ask"), 2);
    EXPECT_EQ(::dlsym(RTLD_DEFAULT, "ask"), nullptr);
  }
}

TEST(SharedLibraryTest, NamesASymbolItLacks) {
  const SharedLibrary one = SharedLibrary::open(library(1), Isolation::local);
  EXPECT_EQ(one.find("absent"), nullptr);
  try {
    one.symbol("absent");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    EXPECT_EQ(error.field_name(), "absent");
    EXPECT_EQ(error.file(), library(1).string());
  }
}

TEST(SharedLibraryTest, SaysWhyAFileIsNoLibrary) {
  EXPECT_THROW(SharedLibrary::open("/nowhere/lib.so", Isolation::local), Error);
  const TemporaryFolder folder;
  try {
    SharedLibrary::open(folder.write("text.so", "this is no library"), Isolation::local);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unavailable);
    EXPECT_THAT(error.message(), testing::HasSubstr("text.so"));
  }
}

}  // namespace
}  // namespace okapi::test
