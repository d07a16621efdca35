#include "runtime/base/sha256.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

// FIPS 180-2, appendix B.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kMillionA =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256Test, EqualsThePublishedVectors) {
  EXPECT_EQ(sha256_of("abc", 3), kAbc);
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.update(std::string(1000, 'a'));
  EXPECT_EQ(hash.hex(), kMillionA);
  hash.update("abc");
  EXPECT_EQ(hash.hex(), kAbc);
}

TEST(Sha256Test, HashesFiles) {
  const TemporaryFolder folder;
  EXPECT_EQ(sha256_of_file(folder.write("a", "abc")), kAbc);
  EXPECT_THROW(sha256_of_file(folder.path() / "absent"), Error);
}

}  // namespace
}  // namespace okapi::test
