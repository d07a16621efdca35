// A plan as people and programs read it.
#include <sstream>
#include <string>

#include "runtime/training/plan.h"

namespace okapi {

Json TrainingPlan::json() const {
  Json list = Json::array();
  for (const Remedy& remedy : remedies) {
    list.push_back({{"change", remedy.change},
                    {"bytes", remedy.bytes},
                    {"fits", remedy.bytes <= available_bytes}});
  }
  Json parts = memory.json();
  parts["logits"] = logits_bytes;
  parts["attention"] = attention_bytes;
  parts["total"] = total_bytes();
  return {{"n_parameters", n_parameters},
          {"n_trained", n_trained},
          {"recompute", recomputes},
          {"micro_tokens", micro_tokens},
          {"step_tokens", step_tokens},
          {"n_steps", n_steps},
          {"memory", parts},
          {"available_bytes", available_bytes},
          {"missing_bytes", fits() ? 0 : total_bytes() - available_bytes},
          {"fits", fits()},
          {"flops_per_step", flops_per_step},
          {"useful_flops_per_step", useful_flops_per_step},
          {"gflops", gflops},
          {"seconds_per_step", seconds_per_step},
          {"seconds", n_steps > 0 ? Json(seconds()) : Json(nullptr)},
          {"checkpoint_bytes", checkpoint_bytes},
          {"remedies", list}};
}

namespace {

std::string bytes_text(uint64_t bytes) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  const auto value = static_cast<double>(bytes);
  if (value >= 0x1p30) {
    text.precision(2);
    text << value / 0x1p30 << " GiB";
  } else {
    text.precision(1);
    text << value / 0x1p20 << " MiB";
  }
  return text.str();
}

std::string seconds_text(double seconds) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(seconds < 120 ? 1 : 0);
  if (seconds < 120) {
    text << seconds << " s";
  } else if (seconds < 7200) {
    text << seconds / 60 << " min";
  } else if (seconds < 48 * 3600) {
    text << seconds / 3600 << " h";
  } else {
    text << seconds / 86400 << " days";
  }
  return text.str();
}

}  // namespace

std::string TrainingPlan::text() const {
  std::ostringstream text;
  const auto row = [&text](const std::string& name, const std::string& value) {
    text << name << std::string(name.size() < 28 ? 28 - name.size() : 1, ' ') << value << "\n";
  };
  row("parameters", std::to_string(n_parameters) + ", trained " + std::to_string(n_trained));
  row("tokens",
      std::to_string(step_tokens) + " a step, " + std::to_string(micro_tokens) + " at once");
  row("frozen weights", bytes_text(memory.frozen_weights));
  row("masters (f32)", bytes_text(memory.masters));
  if (memory.prepared_weights > 0) row("copies for products", bytes_text(memory.prepared_weights));
  row("gradients", bytes_text(memory.gradients));
  row("optimizer", bytes_text(memory.moments));
  row(recomputes ? "activations, recomputed" : "activations", bytes_text(memory.activations));
  row("logits chunks", bytes_text(logits_bytes));
  row("attention, rotation", bytes_text(attention_bytes + memory.rotation));
  row("memory in all",
      bytes_text(total_bytes()) + " of " + bytes_text(available_bytes) + " available");
  std::ostringstream flops;
  flops.precision(3);
  flops << flops_per_step / 1e12 << " TFLOP";
  if (gflops > 0) flops << " at " << gflops << " GFLOP/s: " << seconds_text(seconds_per_step);
  row("a step", flops.str());
  if (gflops > 0 && n_steps > 0) {
    row(std::to_string(n_steps) + " steps", seconds_text(seconds()));
  }
  row("a checkpoint", bytes_text(static_cast<uint64_t>(checkpoint_bytes)));
  if (fits()) return text.str();

  text << "does not fit: " << bytes_text(total_bytes() - available_bytes) << " are missing\n";
  for (const Remedy& remedy : remedies) {
    text << "  with " << remedy.change << ": " << bytes_text(remedy.bytes)
         << (remedy.bytes <= available_bytes ? ", which fits" : "") << "\n";
  }
  return text.str();
}

}  // namespace okapi
