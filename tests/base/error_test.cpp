#include "runtime/base/error.h"

#include <gtest/gtest.h>

#include "runtime/base/cancel.h"

namespace okapi::test {
namespace {

TEST(ErrorTest, SaysWhereAndWhyInOneLine) {
  const Error cause = Error(Code::not_found, "no such file").at("b.json");
  const Error error = Error(Code::invalid_argument, "n_heads: 3 does not divide 64")
                          .in("model")
                          .field("n_heads")
                          .at("a.json", 12)
                          .because(cause);
  EXPECT_EQ(error.full_message(),
            "a.json:12: n_heads: 3 does not divide 64, because b.json: no such file");
  EXPECT_STREQ(error.what(), "n_heads: 3 does not divide 64");
}

TEST(CancelTest, ThrowsOnlyOnceRequested) {
  CancelToken token;
  EXPECT_NO_THROW(token.check());
  token.request();
  EXPECT_TRUE(token.requested());
  try {
    token.check();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::cancelled);
  }
}

}  // namespace
}  // namespace okapi::test
