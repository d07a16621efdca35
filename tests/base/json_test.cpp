#include "runtime/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/json_depth.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const JsonPlace kPlace{"test", "a.json"};

Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {Code::ok, ""};
}

TEST(ParseJsonTest, NamesFileAndLineOfASyntaxError) {
  const Error error = error_of([] { parse_json("{\n\"a\": 1,\n\"b\" 2}", kPlace); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_EQ(error.file(), "a.json");
  EXPECT_EQ(error.offset(), 3);
  EXPECT_THAT(error.message(), HasSubstr("at byte 15: syntax error while parsing object"));
}

TEST(ParseJsonTest, RefusesWhatReadersDisagreeOn) {
  for (const char* text : {"", "NaN", "Infinity", "1e999", "{} x", "\"\xFF\"", "[1,]",
                           R"({"a":1,"a":2})", R"({"x":{"a":1,"b":2,"a":3}})"}) {
    EXPECT_EQ(error_of([text] { parse_json(text, kPlace); }).code(), Code::data_loss) << text;
  }
  EXPECT_EQ(error_of([] { parse_json(std::string_view("{}\0{", 4), kPlace); }).code(),
            Code::data_loss);
  EXPECT_NO_THROW(parse_json("[{\"a\":1},{\"a\":2}]", kPlace));
}

TEST(ParseJsonTest, BoundsDepthAndSize) {
  EXPECT_NO_THROW(parse_json("[[[1]]]", kPlace, {.max_depth = 3}));
  EXPECT_EQ(error_of([] { parse_json("[[[[1]]]]", kPlace, {.max_depth = 3}); }).code(),
            Code::data_loss);
  EXPECT_EQ(error_of([] { parse_json(std::string(1000000, '['), kPlace); }).code(),
            Code::data_loss);
  EXPECT_EQ(error_of([] { parse_json("[1, 2]", kPlace, {.max_bytes = 5}); }).code(),
            Code::resource_exhausted);
}

TEST(JsonFieldsTest, ReadsEveryKindOfField) {
  const Json json = parse_json(
      R"({"i": -3, "big": 18446744073709551615, "x": 2.5, "b": true, "t": "text", "xs": [1, 2.5],
          "is": [1, 2], "ts": ["a"], "o": {"k": 1}, "none": null})",
      kPlace);
  JsonFields fields(json, kPlace);
  EXPECT_EQ(fields.integer("i", -3, 3), -3);
  EXPECT_EQ(fields.number("x"), 2.5);
  EXPECT_EQ(fields.number("i"), -3.0);
  EXPECT_TRUE(fields.boolean("b"));
  EXPECT_EQ(fields.text("t"), "text");
  EXPECT_THAT(fields.numbers("xs", 0, 10), ElementsAre(1, 2.5));
  EXPECT_THAT(fields.integers("is", 0, 10), ElementsAre(1, 2));
  EXPECT_THAT(fields.texts("ts"), ElementsAre("a"));
  EXPECT_EQ(fields.object("o").integer("k", 0, 1), 1);
  EXPECT_EQ(fields.integer_or("none", 0, 9, 7), 7);
  EXPECT_EQ(fields.text_or("absent", "default"), "default");
  EXPECT_FALSE(fields.has("none"));
  EXPECT_TRUE(fields.contains("none"));
  EXPECT_THAT(fields.unread(), ElementsAre("big"));
}

TEST(JsonFieldsTest, ErrorsNameThePathAndWhatWasFound) {
  const Json json = parse_json(
      R"({"i": 5, "s": "x", "f": 1.5, "big": 18446744073709551615, "list": [1, "two"], "o": {"k": 1}})",
      kPlace);
  struct Case {
    std::function<void(JsonFields&)> read;
    const char* field;
    const char* found;
  };
  const Case cases[] = {
      {[](JsonFields& f) { f.integer("absent", 0, 1); }, "absent", "found nothing"},
      {[](JsonFields& f) { f.integer("i", 0, 4); }, "i", "found 5"},
      {[](JsonFields& f) { f.integer("i", 6, 9); }, "i", "found 5"},
      {[](JsonFields& f) { f.integer("f", 0, 4); }, "f", "found 1.5"},
      {[](JsonFields& f) { f.integer("big", 0, INT64_MAX); }, "big", "found 18446744073709551615"},
      {[](JsonFields& f) { f.integer("big", INT64_MIN, -1); }, "big", "found 18446744073709551615"},
      {[](JsonFields& f) { f.number("s"); }, "s", "found \"x\""},
      {[](JsonFields& f) { f.number("f", 2, 3); }, "f", "found 1.5"},
      {[](JsonFields& f) { f.boolean("i"); }, "i", "found 5"},
      {[](JsonFields& f) { f.text("i"); }, "i", "found 5"},
      {[](JsonFields& f) { f.numbers("list", 0, 9); }, "list[1]", "found \"two\""},
      {[](JsonFields& f) { f.texts("i"); }, "i", "found 5"},
      {[](JsonFields& f) { f.object("list"); }, "list", "found an array of 2"},
      {[](JsonFields& f) { f.object("o").text("k"); }, "o.k", "found 1"},
      {[](JsonFields& f) { f.object("o").finish(); }, "o.k", "unknown key"},
  };
  for (const Case& one : cases) {
    JsonFields fields(json, kPlace);
    const Error error = error_of([&] { one.read(fields); });
    EXPECT_EQ(error.code(), Code::invalid_argument);
    EXPECT_EQ(error.field_name(), one.field);
    EXPECT_EQ(error.file(), "a.json");
    EXPECT_THAT(error.message(), HasSubstr(std::string(one.field) + ": "));
    EXPECT_THAT(error.message(), HasSubstr(one.found));
  }
}

TEST(JsonFieldsTest, FinishAcceptsWhatWasReadOrIgnored) {
  const Json json = parse_json(R"({"a": 1, "b": 2, "c": null})", kPlace);
  JsonFields fields(json, kPlace);
  fields.integer("a", 0, 9);
  EXPECT_EQ(error_of([&] { fields.finish(); }).field_name(), "b");
  fields.ignore("b");
  EXPECT_NO_THROW(fields.finish());
}

TEST(JsonDepthTest, CountsBracketsOutsideOfStrings) {
  EXPECT_TRUE(nests_within("[[1], {\"a\": 2}]", 2));
  EXPECT_FALSE(nests_within("[[1, [2]]]", 2));
  EXPECT_TRUE(nests_within(R"(["[[[", "\"[["])", 1));
  EXPECT_TRUE(nests_within("[[]][[]]", 2));
  EXPECT_TRUE(nests_within("", 1));
  EXPECT_FALSE(nests_within(std::string(100000, '[')));
}

}  // namespace
}  // namespace okapi::test
