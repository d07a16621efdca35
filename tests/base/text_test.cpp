#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "runtime/base/number_text.h"
#include "runtime/base/random.h"
#include "runtime/base/utf8.h"

namespace okapi::test {
namespace {

TEST(NumberTextTest, IsShortAndReadsBackTheSame) {
  EXPECT_EQ(number_text(4.0), "4");
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(1e6), "1e+06");
  Random random(1);
  for (int i = 0; i < 10000; ++i) {
    const double value =
        std::ldexp(random.uniform() - 0.5, static_cast<int>(random.uniform_int(-99, 99)));
    ASSERT_EQ(parse_number(number_text(value)), value);
  }
}

TEST(NumberTextTest, ParsesWholeTextsOnly) {
  EXPECT_EQ(parse_number("1e+06"), 1e6);
  for (const char* text : {"", "1x", " 1", "1 ", "0x10", "1,5"}) {
    EXPECT_FALSE(parse_number(text).has_value()) << text;
  }
}

TEST(Utf8Test, TellsTextFromOtherBytes) {
  for (const char* text : {"", "abc", "\u00e9", "\u2581", "\U0001F992", "\u07ff\u0800\uffff",
                           "\U0010FFFF", "\u0080"}) {
    EXPECT_TRUE(is_valid_utf8(text)) << text;
  }
  for (const char* text :
       {"\x80", "\xC3", "\xC3\x28", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x96", "a\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(text));
  }
}

}  // namespace
}  // namespace okapi::test
