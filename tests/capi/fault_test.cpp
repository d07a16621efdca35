// A throw and an allocation failure in every entry point. The list below must be the list of
// capi/cmake/okapi.symbols: a new entry point cannot be forgotten.
#include "capi/src/fault.h"

#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <tuple>

#include "tests/capi/support.h"

using namespace okapi::test;

namespace {

/// Calls one entry point with NULL and 0 for every argument, the error aside, and tells what came
/// out:
/// "" if it is what a failure must look like, given the status and the text of the fault.
struct Entry {
  std::function<Outcome()> run;           ///< of a function that returns a status
  std::function<bool()> returns_neutral;  ///< of any other
};

template <typename... Args>
constexpr bool kTakesError =
    sizeof...(Args) > 0 &&
    std::is_same_v<std::tuple_element_t<sizeof...(Args) - 1, std::tuple<Args...>>, okapi_error**>;

template <typename Value>
bool is_neutral(const Value& value, const Value& neutral) {
  if constexpr (std::is_same_v<Value, const char*>) {
    return std::string(value) == neutral;
  } else {
    return value == neutral;
  }
}

template <typename... Args>
Entry entry(okapi_status (*function)(Args...)) requires kTakesError<Args...> {
  return {[=] {
            return call([&](okapi_error** error) {
              std::tuple<Args...> arguments{};
              std::get<sizeof...(Args) - 1>(arguments) = error;
              return std::apply(function, arguments);
            });
          },
          {}};
}

template <typename Value, typename... Args>
Entry entry(Value (*function)(Args...), Value neutral) {
  return {{}, [=] { return is_neutral(std::apply(function, std::tuple<Args...>{}), neutral); }};
}

template <typename Handle>
Entry entry(Handle* (*function)(Handle*)) {
  return entry(function, static_cast<Handle*>(nullptr));
}

template <typename... Args>
Entry entry(void (*function)(Args...)) {
  return {{}, [=] {
            std::apply(function, std::tuple<Args...>{});
            return true;
          }};
}

#define OKAPI_ENTRY(function) \
  { #function, entry(function) }
#define OKAPI_VALUE(function, neutral) \
  { #function, entry(function, neutral) }

const std::map<std::string, Entry>& entries() {
  static const std::map<std::string, Entry> kAll = {
      OKAPI_VALUE(okapi_abi_version, uint32_t{0}),
      OKAPI_VALUE(okapi_version_string, static_cast<const char*>("")),

      OKAPI_VALUE(okapi_status_name, static_cast<const char*>("UNKNOWN")),
      OKAPI_VALUE(okapi_error_code, okapi_status{OKAPI_OK}),
      OKAPI_VALUE(okapi_error_message, static_cast<const char*>("")),
      OKAPI_VALUE(okapi_error_component, static_cast<const char*>("")),
      OKAPI_VALUE(okapi_error_field, static_cast<const char*>("")),
      OKAPI_VALUE(okapi_error_file, static_cast<const char*>("")),
      OKAPI_VALUE(okapi_error_offset, int64_t{-1}),
      OKAPI_VALUE(okapi_error_cause, static_cast<const okapi_error*>(nullptr)),
      OKAPI_ENTRY(okapi_error_ref),
      OKAPI_ENTRY(okapi_error_unref),

      OKAPI_ENTRY(okapi_cancel_create),
      OKAPI_ENTRY(okapi_cancel_request),
      OKAPI_VALUE(okapi_cancel_requested, uint8_t{0}),
      OKAPI_ENTRY(okapi_cancel_reset),
      OKAPI_ENTRY(okapi_cancel_ref),
      OKAPI_ENTRY(okapi_cancel_unref),

      OKAPI_ENTRY(okapi_runtime_create),
      OKAPI_ENTRY(okapi_runtime_ref),
      OKAPI_ENTRY(okapi_runtime_unref),
      OKAPI_ENTRY(okapi_runtime_describe),
      OKAPI_ENTRY(okapi_runtime_measure_matmul),
      OKAPI_ENTRY(okapi_runtime_measure_attention),
      OKAPI_ENTRY(okapi_runtime_measure_bandwidth),

      OKAPI_ENTRY(okapi_runtime_plugins),
      OKAPI_ENTRY(okapi_runtime_add_plugin),
      OKAPI_ENTRY(okapi_plugin_info),
      OKAPI_ENTRY(okapi_plugin_check),

      OKAPI_ENTRY(okapi_model_open),
      OKAPI_ENTRY(okapi_model_create_random),
      OKAPI_ENTRY(okapi_model_ref),
      OKAPI_ENTRY(okapi_model_unref),
      OKAPI_ENTRY(okapi_model_get_info),
      OKAPI_ENTRY(okapi_model_describe),

      OKAPI_ENTRY(okapi_tokenizer_open),
      OKAPI_ENTRY(okapi_model_get_tokenizer),
      OKAPI_ENTRY(okapi_tokenizer_ref),
      OKAPI_ENTRY(okapi_tokenizer_unref),
      OKAPI_ENTRY(okapi_tokenizer_encode),
      OKAPI_ENTRY(okapi_tokenizer_decode),
      OKAPI_VALUE(okapi_tokenizer_vocab_size, int32_t{0}),
      OKAPI_ENTRY(okapi_tokenizer_describe),

      OKAPI_ENTRY(okapi_rope_create),
      OKAPI_ENTRY(okapi_rope_create_for_shape),
      OKAPI_ENTRY(okapi_rope_ref),
      OKAPI_ENTRY(okapi_rope_unref),
      OKAPI_ENTRY(okapi_rope_canonical),
      OKAPI_ENTRY(okapi_rope_describe),
      OKAPI_ENTRY(okapi_rope_table),
      OKAPI_ENTRY(okapi_rope_explain),
      OKAPI_ENTRY(okapi_runtime_register_rope),

      OKAPI_ENTRY(okapi_session_create),
      OKAPI_ENTRY(okapi_session_ref),
      OKAPI_ENTRY(okapi_session_unref),
      OKAPI_ENTRY(okapi_session_prefill),
      OKAPI_ENTRY(okapi_session_decode),
      OKAPI_ENTRY(okapi_session_advance_batch),
      OKAPI_ENTRY(okapi_session_score),
      OKAPI_ENTRY(okapi_session_generate),
      OKAPI_ENTRY(okapi_session_generate_batch),
      OKAPI_ENTRY(okapi_session_set_cancel),
      OKAPI_VALUE(okapi_session_n_tokens, int64_t{0}),
      OKAPI_ENTRY(okapi_session_tokens),
      OKAPI_ENTRY(okapi_session_truncate),
      OKAPI_ENTRY(okapi_session_fork),
      OKAPI_ENTRY(okapi_session_save),
      OKAPI_ENTRY(okapi_session_restore),
      OKAPI_ENTRY(okapi_session_restore_with),
      OKAPI_ENTRY(okapi_session_describe),

      OKAPI_ENTRY(okapi_dataset_open),
      OKAPI_ENTRY(okapi_dataset_ref),
      OKAPI_ENTRY(okapi_dataset_unref),
      OKAPI_VALUE(okapi_dataset_count, int64_t{0}),
      OKAPI_ENTRY(okapi_dataset_record),
      OKAPI_ENTRY(okapi_dataset_describe),

      OKAPI_ENTRY(okapi_tokens_prepare),
      OKAPI_ENTRY(okapi_tokens_describe),

      OKAPI_ENTRY(okapi_task_open),
      OKAPI_ENTRY(okapi_task_open_prompts),
      OKAPI_ENTRY(okapi_task_ref),
      OKAPI_ENTRY(okapi_task_unref),
      OKAPI_VALUE(okapi_task_count, int64_t{0}),
      OKAPI_ENTRY(okapi_task_item),
      OKAPI_ENTRY(okapi_task_score),
      OKAPI_ENTRY(okapi_task_describe),

      OKAPI_ENTRY(okapi_results_open),
      OKAPI_ENTRY(okapi_results_ref),
      OKAPI_ENTRY(okapi_results_unref),
      OKAPI_ENTRY(okapi_results_summary),
      OKAPI_ENTRY(okapi_results_training),
      OKAPI_ENTRY(okapi_results_describe),
      OKAPI_ENTRY(okapi_results_export),

      OKAPI_ENTRY(okapi_evaluation_create),
      OKAPI_ENTRY(okapi_evaluation_ref),
      OKAPI_ENTRY(okapi_evaluation_unref),
      OKAPI_ENTRY(okapi_evaluation_run),
      OKAPI_ENTRY(okapi_evaluation_report),
      OKAPI_ENTRY(okapi_evaluation_describe),

      OKAPI_ENTRY(okapi_adapter_open),
      OKAPI_ENTRY(okapi_adapter_ref),
      OKAPI_ENTRY(okapi_adapter_unref),
      OKAPI_ENTRY(okapi_adapter_describe),
      OKAPI_ENTRY(okapi_adapter_save),
      OKAPI_ENTRY(okapi_adapter_merge),

      OKAPI_ENTRY(okapi_delta_make),
      OKAPI_ENTRY(okapi_delta_check),
      OKAPI_ENTRY(okapi_delta_apply),

      OKAPI_ENTRY(okapi_trainer_open),
      OKAPI_ENTRY(okapi_trainer_ref),
      OKAPI_ENTRY(okapi_trainer_unref),
      OKAPI_ENTRY(okapi_trainer_step),
      OKAPI_ENTRY(okapi_trainer_set_cancel),
      OKAPI_ENTRY(okapi_trainer_run),
      OKAPI_ENTRY(okapi_trainer_evaluate),
      OKAPI_ENTRY(okapi_trainer_save),
      OKAPI_ENTRY(okapi_trainer_metrics),
      OKAPI_ENTRY(okapi_trainer_export),
      OKAPI_ENTRY(okapi_trainer_check_export),
      OKAPI_ENTRY(okapi_trainer_describe),
      OKAPI_ENTRY(okapi_trainer_plan),
  };
  return kAll;
}

std::set<std::string> listed_symbols() {
  std::ifstream file(OKAPI_SOURCE_DIR "/capi/cmake/okapi.symbols");
  std::set<std::string> names;
  for (std::string line; std::getline(file, line);) {
    std::smatch found;
    if (std::regex_match(line, found, std::regex(R"(\s*(okapi_\w+);)"))) names.insert(found[1]);
  }
  return names;
}

/// Runs `visit` on every entry point with a fault armed, and checks that the fault struck there.
void with_fault(int32_t fault, okapi_status status, const std::string& message) {
  for (const auto& [name, one] : entries()) {
    SCOPED_TRACE(name);
    okapi_fault_arm(fault);
    if (one.run) {
      const Outcome outcome = one.run();
      EXPECT_EQ(okapi_fault_struck(), name) << "the entry point runs without a guard";
      EXPECT_EQ(outcome.status, status);
      EXPECT_THAT(outcome.message(), testing::HasSubstr(message));
    } else {
      const bool is_neutral_value = one.returns_neutral();
      EXPECT_EQ(okapi_fault_struck(), name) << "the entry point runs without a guard";
      EXPECT_TRUE(is_neutral_value);
    }
  }
  okapi_fault_arm(OKAPI_FAULT_NONE);
}

}  // namespace

TEST(FaultTest, EveryExportedFunctionIsCovered) {
  std::set<std::string> covered;
  for (const auto& [name, one] : entries()) covered.insert(name);
  const std::set<std::string> listed = listed_symbols();
  EXPECT_GE(listed.size(), 90U);
  EXPECT_EQ(covered, listed);
}

TEST(FaultTest, AThrowBecomesInternal) {
  with_fault(OKAPI_FAULT_THROW, OKAPI_INTERNAL, "injected");
}

TEST(FaultTest, AnAllocationFailureBecomesResourceExhausted) {
  with_fault(OKAPI_FAULT_BAD_ALLOC, OKAPI_RESOURCE_EXHAUSTED, "memory");
}

TEST(FaultTest, AForeignExceptionBecomesInternal) {
  with_fault(OKAPI_FAULT_FOREIGN, OKAPI_INTERNAL, "no std::exception");
}

TEST(FaultTest, NullEverywhereIsRefusedNamingAnArgument) {
  for (const auto& [name, one] : entries()) {
    SCOPED_TRACE(name);
    if (one.run) {
      const Outcome outcome = one.run();
      EXPECT_EQ(outcome.status, OKAPI_INVALID_ARGUMENT) << outcome.message();
      EXPECT_NE(outcome.field(), "") << outcome.message();
    } else if (name != "okapi_abi_version" && name != "okapi_version_string" &&
               name != "okapi_status_name") {
      EXPECT_TRUE(one.returns_neutral());
    }
  }
}
