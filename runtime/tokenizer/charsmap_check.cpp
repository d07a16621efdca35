// The normalization rules of a sentencepiece model.
//
// Layout: u32 n, n bytes of trie, replacement texts each ended by a zero byte. The trie is a
// double array as darts-clone writes it: u32 units, where a node is the index reached so far and
// the child for byte c stands at node ^ c, provided that unit's label is c. sentencepiece walks it
// along the text without bounds checks, and collects at most 32 rules of one another's prefixes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/base/utf8.h"
#include "runtime/tokenizer/model_proto_check.h"

namespace okapi {

namespace {

constexpr size_t kMaxRulesOnPath = 32;

/// One unit of a darts-clone double array.
struct Unit {
  uint32_t bits;

  uint32_t label() const { return bits & (uint32_t{1} << 31 | 0xFF); }
  bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  uint32_t value() const { return bits & ((uint32_t{1} << 31) - 1); }
  uint32_t offset() const { return bits >> 10 << ((bits & (1U << 9)) >> 6); }
};

class TrieCheck {
 public:
  TrieCheck(std::vector<Unit> units, size_t n_text_bytes)
      : units_(std::move(units)), n_text_bytes_(n_text_bytes), longest_(units_.size(), kUnseen) {}

  /// Depth first from the root; nodes may be shared, but no path may come back to itself.
  std::string run() {
    std::string fault = enter(units_[0].offset());
    while (fault.empty() && !path_.empty()) {
      Visit& visit = path_.back();
      if (visit.next_byte == 256) {
        leave();
        continue;
      }
      const uint32_t byte = visit.next_byte++;
      const uint32_t child = visit.node ^ byte;
      const Unit unit = units_[child];
      if (unit.label() != byte) continue;

      const uint32_t next = child ^ unit.offset();
      fault = check_child(unit, next);
      if (!fault.empty()) break;
      visit.leaf_of_child = unit.has_leaf() ? 1 : 0;
      if (longest_[next] == kOnPath) return "the trie runs in a circle";
      if (longest_[next] == kUnseen) {
        fault = enter(next);
      } else {
        visit.longest = std::max(visit.longest, longest_[next] + visit.leaf_of_child);
      }
    }
    if (fault.empty() && longest_[units_[0].offset()] > static_cast<int64_t>(kMaxRulesOnPath)) {
      return "more than 32 rules are prefixes of one another";
    }
    return fault;
  }

 private:
  static constexpr int64_t kUnseen = -1;
  static constexpr int64_t kOnPath = -2;

  struct Visit {
    uint32_t node;
    uint32_t next_byte = 0;
    int64_t longest = 0;  ///< most rules on a path from here down
    int64_t leaf_of_child = 0;
  };

  std::string enter(uint32_t node) {
    // All 256 children lie in the block of 256 units around the node.
    if ((node | 0xFF) >= units_.size()) return "a node of the trie lies outside it";
    longest_[node] = kOnPath;
    path_.push_back({node});
    return "";
  }

  void leave() {
    const Visit done = path_.back();
    path_.pop_back();
    longest_[done.node] = done.longest;
    if (path_.empty()) return;
    Visit& parent = path_.back();
    parent.longest = std::max(parent.longest, done.longest + parent.leaf_of_child);
  }

  std::string check_child(Unit unit, uint32_t node) const {
    if ((node | 0xFF) >= units_.size()) return "a node of the trie lies outside it";
    if (unit.has_leaf() && units_[node].value() >= n_text_bytes_) {
      return "a rule's replacement lies outside the texts";
    }
    return "";
  }

  std::vector<Unit> units_;
  size_t n_text_bytes_;
  std::vector<int64_t> longest_;
  std::vector<Visit> path_;
};

}  // namespace

std::string find_charsmap_fault(std::string_view charsmap) {
  if (charsmap.empty()) return "";  // no rules
  uint32_t trie_bytes = 0;
  if (charsmap.size() <= sizeof trie_bytes) return "shorter than its own length field";
  std::memcpy(&trie_bytes, charsmap.data(), sizeof trie_bytes);
  charsmap.remove_prefix(sizeof trie_bytes);

  if (trie_bytes == 0 || trie_bytes % sizeof(Unit) != 0 || trie_bytes >= charsmap.size()) {
    return "the trie's length of " + std::to_string(trie_bytes) + " does not fit the " +
           std::to_string(charsmap.size()) + " bytes there";
  }
  const std::string_view texts = charsmap.substr(trie_bytes);
  if (texts.back() != '\0') return "the last replacement text has no end";
  if (!is_valid_utf8(texts)) return "the replacement texts are not UTF-8";

  std::vector<Unit> units(trie_bytes / sizeof(Unit));
  std::memcpy(units.data(), charsmap.data(), trie_bytes);
  return TrieCheck(std::move(units), texts.size()).run();
}

}  // namespace okapi
