// Several sources as one.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/data/window_source.h"

namespace okapi {

struct WeightedSource {
  double weight = 1;  ///< above 0; shares are weights over their sum
  std::shared_ptr<const WindowSource> source;
};

/// Windows of several sources in given shares, which hold for every stretch: of the first n windows
/// each source has its share of n, to within one. Which comes next is the one that is furthest
/// behind, so the order of turns does not depend on a seed; that of each source's windows does.
/// Endless: a source that has an end begins its next epoch.
class MixtureSource : public WindowSource {
 public:
  explicit MixtureSource(std::vector<WeightedSource> parts);

  int64_t count() const override { return -1; }
  TokenWindow window(int64_t index) const override;
  int64_t max_tokens() const override;
  Json describe() const override;

  struct Turn {
    size_t part;
    int64_t number;  ///< of the part's window
  };
  Turn turn(int64_t index) const;

 private:
  using Counts = std::vector<int64_t>;
  size_t take(Counts& counts, int64_t index) const;

  std::vector<WeightedSource> parts_;
  std::vector<double> shares_;
  mutable std::mutex mutex_;                 ///< of checkpoints_
  mutable std::vector<Counts> checkpoints_;  ///< windows of each part before every so many
};

/// All windows of several sources that end, one source after the other: a validation set.
class ConcatenatedSource : public WindowSource {
 public:
  explicit ConcatenatedSource(std::vector<std::shared_ptr<const WindowSource>> parts);

  int64_t count() const override { return count_; }
  TokenWindow window(int64_t index) const override;
  int64_t max_tokens() const override;
  Json describe() const override;

 private:
  std::vector<std::shared_ptr<const WindowSource>> parts_;
  int64_t count_ = 0;
};

}  // namespace okapi
