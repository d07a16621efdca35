#include "runtime/plugin_host/param_schema.h"

#include <gtest/gtest.h>

#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

constexpr const char* kDeclared = R"([
  {"name": "scale", "type": "number", "default": 2, "min": 1, "help": "how far"},
  {"name": "n", "type": "integer", "default": 3, "max": 10},
  {"name": "kind", "type": "enum", "choices": ["a", "b"], "default": "a"},
  {"name": "on", "type": "boolean", "default": false},
  {"name": "file", "type": "string"},
  {"name": "list", "type": "list", "above": 0},
  {"name": "length", "type": "integer", "from_model": "trained_length"},
  {"name": "ratio", "type": "number", "from_model": "length_ratio"},
  {"name": "need", "type": "number", "required": true, "below": 5}
])";

ParamSchema schema() { return ParamSchema::parse(kDeclared, "rope.x"); }

TEST(ParamSchemaTest, FillsInWhatWasNotGivenAndSaysWhereItCameFrom) {
  const ParamFacts facts{10000, 512, 2048, 8, 8};
  const auto values = schema().resolve({{"need", 1}, {"n", 7.0}}, &facts);
  const auto source = [&](const char* name) {
    return values->table()->find(values->table(), name)->source;
  };
  EXPECT_EQ(values->json_text(),
            R"({"scale":2,"n":7,"kind":"a","on":false,"length":512,"ratio":4,"need":1})");
  EXPECT_EQ(source("scale"), OKAPI_PARAM_DEFAULT);
  EXPECT_EQ(source("n"), OKAPI_PARAM_GIVEN);
  EXPECT_EQ(source("length"), OKAPI_PARAM_MODEL);
  EXPECT_EQ(source("list"), OKAPI_PARAM_UNSET);
  EXPECT_EQ(values->table()->n_values, 9U);
  EXPECT_EQ(values->table()->find(values->table(), "no"), nullptr);
  EXPECT_EQ(values->table()->find(values->table(), "length")->number, 512);
}

TEST(ParamSchemaTest, RatioIsAtLeastOneAndMeasuredAgainstTheLengthInForce) {
  const ParamFacts shorter{10000, 512, 100, 8, 8};
  const auto ratio = [](const Json& given, const ParamFacts& facts) {
    const auto values = schema().resolve(given, &facts);
    return values->table()->find(values->table(), "ratio")->number;
  };
  EXPECT_EQ(ratio({{"need", 1}}, shorter), 1);
  EXPECT_EQ(ratio({{"need", 1}, {"length", 50}}, shorter), 2);
  EXPECT_EQ(ratio({{"need", 1}, {"ratio", 9}}, shorter), 9);
}

TEST(ParamSchemaTest, FollowsLengthOnlyWhileTheRatioIsNotGiven) {
  EXPECT_TRUE(schema().follows_length(Json::object()));
  EXPECT_FALSE(schema().follows_length({{"ratio", 2}}));
}

TEST(ParamSchemaTest, SaysWhatWasWantedAndWhatWasFound) {
  const struct {
    Json given;
    const char* field;
    const char* wanted;
  } rows[] = {
      {{{"need", 1}, {"scale", 0.5}},
       "scale",
       "rope.x: scale: wanted a number of at least 1, found 0.5"},
      {{{"need", 1}, {"scale", "2"}}, "scale", "wanted a number of at least 1, found \"2\""},
      {{{"need", 1}, {"n", 2.5}}, "n", "wanted a whole number of at most 10, found 2.5"},
      {{{"need", 1}, {"n", 11}}, "n", "of at most 10, found 11"},
      {{{"need", 1}, {"kind", "c"}}, "kind", "wanted one of a, b, found \"c\""},
      {{{"need", 1}, {"on", 1}}, "on", "wanted true or false, found 1"},
      {{{"need", 1}, {"file", 1}}, "file", "wanted a text, found 1"},
      {{{"need", 1}, {"list", {1, 0}}}, "list", "each greater than 0"},
      {{{"need", 1}, {"list", 1}}, "list", "wanted a list of numbers"},
      {{{"need", 5}}, "need", "less than 5, found 5"},
      {Json::object(), "need", "need must be given"},
      {{{"need", 1}, {"scalee", 1}}, "scalee", "unknown parameter scalee; known: scale, n, kind"},
      {{{"need", 1}, {"scalee", 1}}, "scalee", "did you mean scale?"},
  };
  for (const auto& row : rows) {
    const Error error = error_of([&] { schema().resolve(row.given, nullptr); });
    EXPECT_EQ(error.code(), Code::invalid_argument);
    EXPECT_EQ(error.field_name(), row.field);
    EXPECT_EQ(error.component(), "rope.x");
    EXPECT_NE(error.message().find(row.wanted), std::string::npos) << error.message();
  }
}

TEST(ParamSchemaTest, ReadsTextsByTheDeclaredType) {
  const Json given = schema().from_texts({{"scale", "1e3"},
                                          {"n", "4"},
                                          {"on", "true"},
                                          {"file", "4"},
                                          {"list", "1;2.5"},
                                          {"ratio", "auto"}});
  EXPECT_EQ(
      given,
      (Json{{"scale", 1000.0}, {"n", 4.0}, {"on", true}, {"file", "4"}, {"list", {1.0, 2.5}}}));
  for (const ParamTexts& texts : {ParamTexts{{"scale", "four"}},
                                  {{"scale", "4x"}},
                                  {{"scale", ""}},
                                  {{"scale", "nan"}},
                                  {{"on", "yes"}},
                                  {{"list", "1;;2"}},
                                  {{"list", "1,2"}},
                                  {{"scale", "auto"}},
                                  {{"no", "1"}}}) {
    EXPECT_EQ(error_of([&] { schema().from_texts(texts); }).field_name(), texts.front().first);
  }
}

TEST(ParamSchemaTest, WritesValuesAsASpecReadsThem) {
  const auto values = schema().resolve(
      {{"need", 0.1}, {"file", "a \"b\"\\|,"}, {"list", {1, 1.05, 1e-7}}, {"scale", 1e20}},
      nullptr);
  std::vector<std::string> texts;
  for (const ParamValue& value : values->values()) {
    if (value.source == OKAPI_PARAM_GIVEN) texts.push_back(value.spec_text());
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"1e+20", R"("a \"b\"\\|,")", "1;1.05;1e-07", "0.1"}));
}

TEST(ParamSchemaTest, RefusesDeclarationsThatBreakTheRules) {
  for (const char* declared :
       {"{}", "[1]", "[{}]", R"([{"name":"a b","type":"number"}])",
        R"([{"name":"a","type":"colour"}])",
        R"([{"name":"a","type":"number"},{"name":"a","type":"number"}])",
        R"([{"name":"a","type":"enum"}])", R"([{"name":"a","type":"number","choices":["x"]}])",
        R"([{"name":"a","type":"number","default":"x"}])",
        R"([{"name":"a","type":"number","default":0,"min":1}])",
        R"([{"name":"a","type":"number","from_model":"weather"}])",
        R"([{"name":"a","type":"number","tint":1}])", "[", ""}) {
    EXPECT_NE(error_of([&] { ParamSchema::parse(declared, "rope.x"); }).code(), Code::ok)
        << declared;
  }
}

}  // namespace
}  // namespace okapi::test
