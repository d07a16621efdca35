// Any order of unref is legal: for every pair of objects, the one is released first, then the other
// is used, and the other way round.
#include <algorithm>
#include <functional>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

/// One object of each kind, all related as closely as they can be.
struct Objects {
  TemporaryFolder folder;
  RuntimePtr runtime;
  ModelPtr model;
  TokenizerPtr tokenizer;
  RopePtr rope;
  AdapterPtr adapter;
  CancelPtr cancel;
  SessionPtr session;
  SessionPtr fork;
  DatasetPtr dataset;
  TaskPtr task;
  ResultsPtr results;
  EvaluationPtr evaluation;

  Objects() {
    write_model(folder.path());
    runtime = make_runtime();
    model = open_model(runtime.get(), folder.path());
    tokenizer = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
      return okapi_model_get_tokenizer(model.get(), out, error);
    });
    rope = make_rope(model.get(), "linear:scale=2");
    cancel = create<CancelPtr>(
        [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
    okapi_session_options session_options = OKAPI_SESSION_OPTIONS_INIT;
    session_options.rope = rope.get();
    write_adapter(folder.path(), folder.path() / "adapter");
    adapter = open_adapter(model.get(), folder.path() / "adapter");
    session_options.adapter = adapter.get();
    session = make_session(model.get(), &session_options);
    EXPECT_EQ(okapi_session_set_cancel(session.get(), cancel.get(), nullptr), OKAPI_OK);
    prefill(session.get(), some_ids(3));
    fork = create<SessionPtr>([&](okapi_session** out, okapi_error** error) {
      return okapi_session_fork(session.get(), out, error);
    });
    dataset = create<DatasetPtr>([&](okapi_dataset** out, okapi_error** error) {
      return okapi_dataset_open(runtime.get(), "lines", R"({"n_lines": 3, "n_samples": 1})", 1, out,
                                error);
    });
    task = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
      return okapi_task_open(runtime.get(), "lines", nullptr, 1, tokenizer.get(), dataset.get(),
                             out, error);
    });
    results = create<ResultsPtr>([&](okapi_results** out, okapi_error** error) {
      return okapi_results_open(runtime.get(), (folder.path() / "results.db").c_str(), nullptr, out,
                                error);
    });
    okapi_evaluation_options evaluation_options = OKAPI_EVALUATION_OPTIONS_INIT;
    evaluation_options.rope = rope.get();
    evaluation_options.results = results.get();
    evaluation_options.adapter = adapter.get();
    evaluation = create<EvaluationPtr>([&](okapi_evaluation** out, okapi_error** error) {
      return okapi_evaluation_create(task.get(), model.get(), &evaluation_options, out, error);
    });
  }
};

/// How to let go of one of them, and how to use it.
struct Kind {
  const char* name;
  std::function<void(Objects&)> release;
  std::function<okapi_status(Objects&)> use;
};

const std::vector<Kind>& kinds() {
  static const int32_t kId = 5;
  static const std::vector<Kind> kAll = {
      {"runtime", [](Objects& o) { o.runtime.reset(); },
       [](Objects& o) {
         return okapi_runtime_describe(o.runtime.get(), nullptr, 0, nullptr, nullptr);
       }},
      {"model", [](Objects& o) { o.model.reset(); },
       [](Objects& o) {
         return okapi_model_describe(o.model.get(), nullptr, 0, nullptr, nullptr);
       }},
      {"tokenizer", [](Objects& o) { o.tokenizer.reset(); },
       [](Objects& o) {
         size_t n = 0;
         return okapi_tokenizer_encode(o.tokenizer.get(), "a", 1, 0, nullptr, 0, &n, nullptr);
       }},
      {"rope", [](Objects& o) { o.rope.reset(); },
       [](Objects& o) {
         return okapi_rope_explain(o.rope.get(), 99, nullptr, 0, nullptr, nullptr);
       }},
      {"adapter", [](Objects& o) { o.adapter.reset(); },
       [](Objects& o) {
         return okapi_adapter_save(o.adapter.get(), (o.folder.path() / "saved").c_str(), nullptr);
       }},
      {"cancel", [](Objects& o) { o.cancel.reset(); },
       [](Objects& o) {
         return okapi_cancel_requested(o.cancel.get()) == 0 ? OKAPI_OK : OKAPI_INTERNAL;
       }},
      {"session", [](Objects& o) { o.session.reset(); },
       [](Objects& o) { return okapi_session_decode(o.session.get(), kId, nullptr, nullptr); }},
      {"fork", [](Objects& o) { o.fork.reset(); },
       [](Objects& o) { return okapi_session_decode(o.fork.get(), kId, nullptr, nullptr); }},
      {"dataset", [](Objects& o) { o.dataset.reset(); },
       [](Objects& o) {
         return okapi_dataset_record(o.dataset.get(), 0, nullptr, 0, nullptr, nullptr);
       }},
      {"task", [](Objects& o) { o.task.reset(); },
       [](Objects& o) { return okapi_task_item(o.task.get(), 0, nullptr, 0, nullptr, nullptr); }},
      {"results", [](Objects& o) { o.results.reset(); },
       [](Objects& o) {
         return okapi_results_summary(o.results.get(), nullptr, 0, nullptr, nullptr);
       }},
      {"evaluation", [](Objects& o) { o.evaluation.reset(); },
       [](Objects& o) { return okapi_evaluation_run(o.evaluation.get(), nullptr, nullptr); }},
  };
  return kAll;
}

}  // namespace

TEST(DestructionOrderTest, EveryObjectWorksAfterAnyOtherHasGone) {
  for (const Kind& gone : kinds()) {
    for (const Kind& kept : kinds()) {
      if (gone.name == kept.name) continue;
      SCOPED_TRACE(std::string(kept.name) + " after " + gone.name);
      Objects objects;
      gone.release(objects);
      EXPECT_EQ(kept.use(objects), OKAPI_OK);
    }
  }
}

TEST(DestructionOrderTest, EveryObjectWorksAlone) {
  for (const Kind& kept : kinds()) {
    SCOPED_TRACE(kept.name);
    Objects objects;
    for (const Kind& other : kinds()) {
      if (other.name != kept.name) other.release(objects);
    }
    EXPECT_EQ(kept.use(objects), OKAPI_OK);
    kept.release(objects);
  }
}

TEST(DestructionOrderTest, AnyRotationOfTheOrderIsLegal) {
  for (size_t first = 0; first < kinds().size(); ++first) {
    Objects objects;
    for (size_t i = 0; i < kinds().size(); ++i) {
      kinds()[(first + i) % kinds().size()].release(objects);
    }
  }
}
