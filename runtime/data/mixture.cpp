#include "runtime/data/mixture.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"

namespace okapi {

namespace {

constexpr int64_t kCheckpointEvery = 1024;

}  // namespace

MixtureSource::MixtureSource(std::vector<WeightedSource> parts) : parts_(std::move(parts)) {
  double sum = 0;
  for (const WeightedSource& part : parts_) sum += part.weight;
  for (const WeightedSource& part : parts_) shares_.push_back(part.weight / sum);
  checkpoints_.emplace_back(parts_.size(), 0);
}

/// Counts the source whose turn `index` is.
size_t MixtureSource::take(Counts& counts, int64_t index) const {
  size_t chosen = 0;
  double furthest = -2;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const double behind =
        shares_[i] * static_cast<double>(index + 1) - static_cast<double>(counts[i]);
    if (behind > furthest) {
      furthest = behind;
      chosen = i;
    }
  }
  ++counts[chosen];
  return chosen;
}

MixtureSource::Turn MixtureSource::turn(int64_t index) const {
  if (index < 0) {
    throw Error(Code::out_of_range, "wanted a window from 0 on, found " + std::to_string(index))
        .in("data")
        .field("index");
  }
  const auto checkpoint = static_cast<size_t>(index / kCheckpointEvery);
  Counts counts;
  {
    const std::scoped_lock lock(mutex_);
    while (checkpoints_.size() <= checkpoint) {
      Counts next = checkpoints_.back();
      const auto begin = static_cast<int64_t>(checkpoints_.size() - 1) * kCheckpointEvery;
      for (int64_t i = begin; i < begin + kCheckpointEvery; ++i) take(next, i);
      checkpoints_.push_back(std::move(next));
    }
    counts = checkpoints_[checkpoint];
  }
  size_t part = 0;
  for (int64_t i = static_cast<int64_t>(checkpoint) * kCheckpointEvery; i <= index; ++i) {
    part = take(counts, i);
  }
  return {part, counts[part] - 1};
}

TokenWindow MixtureSource::window(int64_t index) const {
  const Turn next = turn(index);
  return parts_[next.part].source->window(next.number);
}

int64_t MixtureSource::max_tokens() const {
  int64_t most = 0;
  for (const WeightedSource& part : parts_) most = std::max(most, part.source->max_tokens());
  return most;
}

Json MixtureSource::describe() const {
  Json parts = Json::array();
  for (const WeightedSource& part : parts_) {
    parts.push_back({{"weight", part.weight}, {"source", part.source->describe()}});
  }
  return {{"kind", "mixture"}, {"parts", parts}};
}

ConcatenatedSource::ConcatenatedSource(std::vector<std::shared_ptr<const WindowSource>> parts)
    : parts_(std::move(parts)) {
  for (const auto& part : parts_) count_ += part->count();
}

TokenWindow ConcatenatedSource::window(int64_t index) const {
  int64_t rest = index % count_;
  for (const auto& part : parts_) {
    if (rest < part->count()) return part->window(rest);
    rest -= part->count();
  }
  throw Error(Code::out_of_range, "wanted a window from 0 on, found " + std::to_string(index))
      .in("data")
      .field("index");
}

int64_t ConcatenatedSource::max_tokens() const {
  int64_t most = 0;
  for (const auto& part : parts_) most = std::max(most, part->max_tokens());
  return most;
}

Json ConcatenatedSource::describe() const {
  Json parts = Json::array();
  for (const auto& part : parts_) parts.push_back(part->describe());
  return {{"kind", "concatenation"}, {"parts", parts}};
}

}  // namespace okapi
