#include "runtime/model/rotary/rope_spec.h"

#include <gtest/gtest.h>

#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

TEST(RopeSpecTest, ReadsSchemesAndParametersInOrder) {
  const auto schemes = parse_rope_spec(" linear : scale = 4 |truncated:length=2048,a=1 | plain: ");
  ASSERT_EQ(schemes.size(), 3U);
  EXPECT_EQ(schemes[0].name, "linear");
  EXPECT_EQ(schemes[0].params, (ParamTexts{{"scale", "4"}}));
  EXPECT_EQ(schemes[1].params, (ParamTexts{{"length", "2048"}, {"a", "1"}}));
  EXPECT_EQ(schemes[2].name, "plain");
  EXPECT_TRUE(schemes[2].params.empty());
}

TEST(RopeSpecTest, KeepsListsAndUnquotesTexts) {
  const auto schemes = parse_rope_spec(R"(x.y-z:l=1;2.5;3,t="a, b|\"c\" \\",u=)");
  EXPECT_EQ(schemes[0].name, "x.y-z");
  EXPECT_EQ(schemes[0].params, (ParamTexts{{"l", "1;2.5;3"}, {"t", "a, b|\"c\" \\"}, {"u", ""}}));
}

TEST(RopeSpecTest, NamesTheColumnOfWhatIsWrong) {
  const struct {
    const char* spec;
    const char* wanted;
  } rows[] = {{"", "column 1: wanted a scheme's name"},
              {"a |", "column 4: wanted a scheme's name"},
              {"a b", "column 4: wanted a scheme's name, found \"a b\""},
              {"a:x", "column 4: wanted = after x"},
              {"a:x=1,", "column 7: wanted a parameter's name"},
              {"a:x=1 2\"", "column 8: a quote within"},
              {"a:x=\"1", "column 7: a quoted value has no end"},
              {"a:x=\"\\n\"", "after \\ wanted"},
              {"a:x=\"1\" 2", "column 9: wanted | or the end"},
              {"a:x y=1", "wanted a parameter's name, found \"x y\""}};
  for (const auto& row : rows) {
    const Error error = error_of([&] { parse_rope_spec(row.spec); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << row.spec;
    EXPECT_NE(error.message().find(row.wanted), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace okapi::test
