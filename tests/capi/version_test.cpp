#include <okapi/version.h>

#include <gtest/gtest.h>

TEST(VersionTest, LibraryAndHeadersAgree) {
  EXPECT_EQ(OKAPI_ABI_MAJOR_OF(okapi_abi_version()), OKAPI_ABI_MAJOR);
  EXPECT_EQ(OKAPI_ABI_MINOR_OF(okapi_abi_version()), OKAPI_ABI_MINOR);
}

TEST(VersionTest, PackedVersionIsMajorThenMinor) {
  EXPECT_EQ(OKAPI_ABI_MAJOR_OF(0x00030007U), 3U);
  EXPECT_EQ(OKAPI_ABI_MINOR_OF(0x00030007U), 7U);
}

TEST(VersionTest, TextIsTheProjectsVersion) {
  EXPECT_STREQ(okapi_version_string(), OKAPI_PROJECT_VERSION);
}
