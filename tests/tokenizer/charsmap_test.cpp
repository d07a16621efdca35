// The check of normalization rules, on tries made by hand.
//
// A unit of the trie is label | has_leaf << 8 | offset << 10; the root's is at index 0, a child for
// byte c of node n is at n ^ c, and a leaf's value stands in the node's own unit with the top bit
// set.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "runtime/tokenizer/model_proto_check.h"
#include "tests/tokenizer/proto_writer.h"
#include "tests/tokenizer/tokenizer_support.h"

namespace okapi::test {
namespace {

constexpr uint32_t kLeaf = 1U << 8;
constexpr uint32_t kTop = 1U << 31;

constexpr uint32_t offset(uint32_t value) { return value << 10; }

/// One rule, "a" -> "b": the root leads to node 256, 'a' from there to node 512, whose unit says
/// that the replacement starts at byte 0 of the texts.
std::vector<uint32_t> one_rule() {
  std::vector<uint32_t> units(768, 0x7F);  // a label that its place contradicts
  units[0] = offset(256);
  units[256 ^ 'a'] = 'a' | kLeaf | offset((256 ^ 'a') ^ 512);
  units[512] = kTop | 0;
  // No unit may match its own place by chance.
  for (uint32_t i = 256; i < units.size(); ++i) {
    if (units[i] == 0x7F && (i & 0xFF) == 0x7F) units[i] = 0x7E;
  }
  return units;
}

std::string charsmap(const std::vector<uint32_t>& units, std::string_view texts) {
  std::string bytes = little_endian(static_cast<uint32_t>(4 * units.size()));
  for (const uint32_t unit : units) bytes += little_endian(unit);
  return bytes + std::string(texts);
}

constexpr std::string_view kTexts("b\0", 2);

TEST(CharsmapTest, AcceptsAWellFormedTableAndNone) {
  EXPECT_EQ(find_charsmap_fault(charsmap(one_rule(), kTexts)), "");
  EXPECT_EQ(find_charsmap_fault(""), "");
}

TEST(CharsmapTest, RefusesLengthsThatDoNotFit) {
  EXPECT_NE(find_charsmap_fault("abc"), "");
  EXPECT_NE(find_charsmap_fault(little_endian(4)), "");
  EXPECT_NE(find_charsmap_fault(charsmap(one_rule(), "")), "");
  std::string odd = charsmap(one_rule(), kTexts);
  odd[0] = static_cast<char>(odd[0] + 1);
  EXPECT_NE(find_charsmap_fault(odd), "");
  EXPECT_NE(find_charsmap_fault(little_endian(0xFFFFFFFF) + "abcdefgh"), "");
}

TEST(CharsmapTest, RefusesTextsWithoutEndOrNotUtf8) {
  EXPECT_NE(find_charsmap_fault(charsmap(one_rule(), "b")), "");
  EXPECT_NE(find_charsmap_fault(charsmap(one_rule(), std::string_view("\xFF\0", 2))), "");
}

TEST(CharsmapTest, RefusesNodesOutsideTheTrie) {
  std::vector<uint32_t> root = one_rule();
  root[0] = offset(768);
  EXPECT_NE(find_charsmap_fault(charsmap(root, kTexts)), "");

  std::vector<uint32_t> child = one_rule();
  child[256 ^ 'a'] = 'a' | kLeaf | offset((256 ^ 'a') ^ 1024);
  EXPECT_NE(find_charsmap_fault(charsmap(child, kTexts)), "");
}

TEST(CharsmapTest, RefusesAReplacementOutsideTheTexts) {
  std::vector<uint32_t> units = one_rule();
  units[512] = kTop | 2;
  EXPECT_NE(find_charsmap_fault(charsmap(units, kTexts)), "");
}

TEST(CharsmapTest, RefusesACircle) {
  std::vector<uint32_t> units = one_rule();
  units[256 ^ 'a'] = 'a' | offset((256 ^ 'a') ^ 256);
  EXPECT_NE(find_charsmap_fault(charsmap(units, kTexts)), "");
}

/// a, aa, aaa, ... n times: sentencepiece has room for 32 rules that begin one another.
std::vector<uint32_t> nested_rules(uint32_t n) {
  std::vector<uint32_t> units(256 * (n + 2), 0x7E);
  units[0] = offset(256);
  for (uint32_t i = 1; i <= n; ++i) {
    const uint32_t place = (256 * i) ^ 'a';
    units[place] = 'a' | kLeaf | offset(place ^ (256 * (i + 1)));
    units[256 * (i + 1)] = kTop | 0;
    units[(256 * i) ^ 0x7E] = 0x7D;
  }
  return units;
}

TEST(CharsmapTest, CountsRulesThatBeginOneAnother) {
  EXPECT_EQ(find_charsmap_fault(charsmap(nested_rules(32), kTexts)), "");
  EXPECT_NE(find_charsmap_fault(charsmap(nested_rules(33), kTexts)), "");
}

}  // namespace
}  // namespace okapi::test
