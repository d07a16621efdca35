#include "capi/cli/terminal.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace okapi::cli {

using namespace std::chrono_literals;

// Shown only once a call has taken this long, so that quick ones stay silent.
constexpr auto kPatience = 500ms;
constexpr auto kBarEvery = 100ms;
constexpr auto kLineEvery = 10s;

ProgressBar::ProgressBar(std::string title)
    : title_(std::move(title)),
      is_terminal_(isatty(STDERR_FILENO) != 0),
      started_(Clock::now()),
      last_shown_(started_) {}

ProgressBar::~ProgressBar() {
  if (has_drawn_) std::fputs("\r\033[K", stderr);  // the result takes the bar's place
}

void ProgressBar::on_progress(const okapi_progress* progress, void* self) {
  static_cast<ProgressBar*>(self)->show(*progress);
}

void ProgressBar::show(const okapi_progress& progress) {
  const auto now = Clock::now();
  if (now - started_ < kPatience) return;
  if (now - last_shown_ < (is_terminal_ ? Clock::duration(kBarEvery) : Clock::duration(kLineEvery)))
    return;
  last_shown_ = now;
  if (is_terminal_) {
    draw_bar(progress);
    has_drawn_ = true;
  } else {
    write_line(progress);
  }
}

static double fraction_of(const okapi_progress& progress) {
  if (progress.total <= 0) return 0;
  return std::clamp(static_cast<double>(progress.done) / static_cast<double>(progress.total), 0.0,
                    1.0);
}

void ProgressBar::draw_bar(const okapi_progress& progress) const {
  constexpr int kWidth = 30;
  const double fraction = fraction_of(progress);
  const int filled = static_cast<int>(fraction * kWidth);
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  std::string line =
      fmt::format("\r\033[K{} [{:#<{}}{:-<{}}]", title_, "", filled, "", kWidth - filled);
  if (progress.total > 0) line += fmt::format(" {:3.0f}%", fraction * 100);
  if (fraction > 0) line += fmt::format(" {:.0f}s left", seconds / fraction - seconds);
  if (progress.detail != nullptr && *progress.detail != '\0')
    line += fmt::format(" {:.40}", progress.detail);
  std::fputs(line.c_str(), stderr);
}

void ProgressBar::write_line(const okapi_progress& progress) const {
  const std::string line =
      progress.total > 0 ? fmt::format("{}: {} of {}\n", title_, progress.done, progress.total)
                         : fmt::format("{}: {}\n", title_, progress.done);
  std::fputs(line.c_str(), stderr);
}

// Characters, not bytes, so that bars drawn with block characters line up.
static size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    if (row.size() > widths.size()) widths.resize(row.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      line += (i == 0 ? "" : "  ") + (i == 0 ? row[i] + padding : padding + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  if (!text.empty()) text.pop_back();
  return text;
}

std::string format_number(double value, int precision) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, precision) : "-";
}

std::string format_bytes(double n_bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  for (; n_bytes >= 1000 && unit + 1 < std::size(kUnits); ++unit) n_bytes /= 1000;
  return fmt::format("{:.{}f} {}", n_bytes, unit == 0 ? 0 : 1, kUnits[unit]);
}

}  // namespace okapi::cli
