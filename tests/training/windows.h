// Windows that a test gives by hand, or that are drawn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include "runtime/data/window_source.h"
#include "runtime/training/trainer.h"
#include "tests/support/engine.h"

namespace okapi::test {

/// The windows given; number i is i modulo their count.
class GivenWindows final : public WindowSource {
 public:
  explicit GivenWindows(std::vector<TokenWindow> windows) : windows_(std::move(windows)) {
    for (size_t i = 0; i < windows_.size(); ++i) {
      if (windows_[i].identity.empty()) windows_[i].identity = "window " + std::to_string(i);
    }
  }

  int64_t count() const override { return static_cast<int64_t>(windows_.size()); }
  TokenWindow window(int64_t index) const override {
    return windows_[static_cast<size_t>(index) % windows_.size()];
  }
  int64_t max_tokens() const override {
    size_t most = 0;
    for (const TokenWindow& window : windows_) most = std::max(most, window.ids.size());
    return static_cast<int64_t>(most);
  }
  Json describe() const override { return {{"given", windows_.size()}}; }

 private:
  std::vector<TokenWindow> windows_;
};

/// Endless windows of random length and tokens: a repeating pattern, so that there is something to
/// learn. About a third of the tokens carry no loss.
class DrawnWindows final : public WindowSource {
 public:
  DrawnWindows(int64_t shortest, int64_t longest, int64_t vocab_size, uint64_t seed)
      : shortest_(shortest), longest_(longest), vocab_size_(vocab_size), seed_(seed) {}

  int64_t count() const override { return -1; }
  int64_t max_tokens() const override { return longest_; }
  Json describe() const override { return {{"drawn", seed_}}; }

  TokenWindow window(int64_t index) const override {
    Random random(seed_, static_cast<uint64_t>(index));
    TokenWindow window;
    window.identity = "drawn " + std::to_string(index);
    const int64_t n = random.uniform_int(shortest_, longest_);
    const int64_t period = random.uniform_int(3, 7);
    for (int64_t t = 0; t < n; ++t) {
      window.ids.push_back(t < period ? static_cast<int32_t>(random.uniform_int(3, vocab_size_ - 1))
                                      : window.ids[static_cast<size_t>(t - period)]);
      window.learned.push_back(t > 0 && random.uniform() < 0.7 ? 1 : 0);
    }
    window.learned.back() = 1;
    return window;
  }

 private:
  int64_t shortest_;
  int64_t longest_;
  int64_t vocab_size_;
  uint64_t seed_;
};

/// A trainer over JSON text with windows beside it.
inline std::shared_ptr<Trainer> make_trainer(
    const Json& config, std::shared_ptr<const WindowSource> train,
    std::shared_ptr<const WindowSource> evaluation = nullptr, bool resume = false) {
  return Trainer::create(engine(), TrainerConfig::from_json(config),
                         {std::move(train), std::move(evaluation)}, resume);
}

/// A small model's config.json in a folder, for fresh weights; its vocabulary has 96 tokens.
inline std::filesystem::path write_small_config(const std::filesystem::path& folder,
                                                const Json& changes = Json::object()) {
  std::filesystem::create_directories(folder);
  Json config = Json::parse(small_config(96, 64));
  config.update(changes);
  write_file_atomically(folder / "config.json", config.dump());
  return folder;
}

/// A run of `steps` on fresh weights.
inline Json small_run(const std::filesystem::path& model, int64_t steps) {
  return {{"model", model.string()},
          {"init", {{"random", {{"deviation", 0.15}}}}},
          {"seed", 5},
          {"compute_dtype", "f32"},
          {"steps", steps},
          {"optimizer", {{"learning_rate", 3e-3}, {"beta2", 0.99}, {"weight_decay", 0.01}}},
          {"batch", {{"sequences", 4}}}};
}

}  // namespace okapi::test
