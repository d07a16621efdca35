// The trainer's laws on a small model: what changes memory or the order of work changes no number.
#include "runtime/training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "runtime/base/error.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/convert.h"
#include "runtime/model/permute_pairs.h"
#include "runtime/model/safetensors.h"
#include "runtime/training/checkpoint_folder.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "tests/training/windows.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

class TrainerTest : public testing::Test {
 protected:
  std::filesystem::path model() {
    return write_small_config(folder_.path() / "model", model_changes_);
  }
  Json run(int64_t steps = 3) { return small_run(model(), steps); }
  std::shared_ptr<const WindowSource> windows() {
    return std::make_shared<DrawnWindows>(20, 33, 96, 7);
  }

  TemporaryFolder folder_;
  Json model_changes_ = Json::object();
};

std::vector<std::vector<float>> values_after(const std::shared_ptr<Trainer>& trainer,
                                             int64_t steps) {
  for (int64_t i = 0; i < steps; ++i) static_cast<void>(trainer->step());
  std::vector<std::vector<float>> values;
  for (Trainer::NamedValues& named : trainer->values()) values.push_back(std::move(named.values));
  return values;
}

TEST_F(TrainerTest, LearnsWindowsByHeart) {
  Json config = run(60);
  config["optimizer"]["learning_rate"] = 1e-2;
  std::vector<TokenWindow> four;
  for (int64_t i = 0; i < 4; ++i) four.push_back(windows()->window(i));
  const auto trainer = make_trainer(config, std::make_shared<GivenWindows>(four));
  const double before = trainer->step().loss;
  double after = 0;
  for (int i = 1; i < 60; ++i) after = trainer->step().loss;
  EXPECT_GT(before, 4.0);  // ln 96 = 4.56: nothing is known yet
  EXPECT_LT(after, 1.0);
  EXPECT_THROW(static_cast<void>(trainer->step()), Error);  // all steps are done
}

TEST_F(TrainerTest, RecomputationGivesTheSameBytes) {
  for (const bool with_lora : {false, true}) {
    Json config = run();
    config["recompute"] = false;
    if (with_lora) config["lora"] = {{"rank", 3}, {"dropout", 0.2}};
    const auto kept = values_after(make_trainer(config, windows()), 3);
    config["recompute"] = true;
    EXPECT_EQ(values_after(make_trainer(config, windows()), 3), kept) << with_lora;
  }
}

TEST_F(TrainerTest, RecomputationTakesLessMemory) {
  Json config = run();
  config["recompute"] = false;
  const auto kept = make_trainer(config, windows());
  static_cast<void>(kept->step());
  config["recompute"] = true;
  const auto recomputed = make_trainer(config, windows());
  static_cast<void>(recomputed->step());
  EXPECT_LT(recomputed->memory().activations, kept->memory().activations);
}

TEST_F(TrainerTest, AccumulationEqualsTheLargeBatch) {
  double large_loss = 0;
  const auto large = make_trainer(run(), windows())->gradients(&large_loss);
  for (const int64_t micro : {1, 3}) {
    Json config = run();
    config["batch"]["micro"] = micro;
    double loss = 0;
    const auto small = make_trainer(config, windows())->gradients(&loss);
    EXPECT_NEAR(loss, large_loss, 1e-5);
    ASSERT_EQ(small.size(), large.size());
    for (size_t i = 0; i < large.size(); ++i) {
      EXPECT_LT(relative_error(small[i].values, large[i].values), 2e-5) << large[i].name;
    }
  }
}

// Positions are drawn by the window's number in the step, however the step is cut up.
TEST_F(TrainerTest, AccumulationDrawsTheSamePositions) {
  Json config = run();
  config["rope"] = {{"train", "randomized"}, {"eval", "plain"}};
  double large = 0;
  static_cast<void>(make_trainer(config, windows())->gradients(&large));
  config["batch"]["micro"] = 1;
  double small = 0;
  static_cast<void>(make_trainer(config, windows())->gradients(&small));
  EXPECT_NEAR(small, large, 1e-5);
  config["rope"] = {{"train", "plain"}};
  double plain = 0;
  static_cast<void>(make_trainer(config, windows())->gradients(&plain));
  EXPECT_GT(std::fabs(plain - large), 1e-4);  // they are not 0, 1, 2, ...
}

TEST_F(TrainerTest, LossIsTheMeanOverLearnedTokensOfTheWholeStep) {
  // Two windows with one and with ten learned tokens: their own mean losses, weighted.
  std::vector<TokenWindow> both;
  for (const size_t n_learned : {1, 10}) {
    TokenWindow window;
    window.ids = random_ids(12, 96, n_learned);
    window.learned.assign(12, 0);
    for (size_t t = 12 - n_learned; t < 12; ++t) window.learned[t] = 1;
    both.push_back(window);
  }
  const auto loss_of = [&](std::vector<TokenWindow> some) {
    Json config = run();
    config["batch"] = {{"sequences", some.size()}};
    double loss = 0;
    static_cast<void>(
        make_trainer(config, std::make_shared<GivenWindows>(std::move(some)))->gradients(&loss));
    return loss;
  };
  EXPECT_NEAR(loss_of(both), (loss_of({both[0]}) + 10 * loss_of({both[1]})) / 11, 1e-5);
}

TEST_F(TrainerTest, FiltersTrainWhatTheyName) {
  struct Case {
    Json train;
    size_t n_trained;
  };
  // Three layers: an embedding, an output, a last norm, and seven matrices and two norms each.
  const Case cases[] = {{"all", 3 + 3 * 9},
                        {"norm", 1 + 3 * 2},
                        {"embed", 2},
                        {{"norm", "embed"}, 9},
                        {"*.layers.1.self_attn.v_proj.weight", 1},
                        {"*mlp*", 9}};
  for (const Case& example : cases) {
    Json config = run();
    const auto all = make_trainer(config, windows());
    std::map<std::string, std::vector<float>> gradients;
    for (auto& named : all->gradients()) gradients[named.name] = named.values;

    config["parameters"] = {{"train", example.train}};
    const auto some = make_trainer(config, windows());
    const auto found = some->gradients();
    EXPECT_EQ(found.size(), example.n_trained) << example.train;
    for (const auto& named : found) {
      EXPECT_LT(relative_error(named.values, gradients.at(named.name)), 1e-5) << named.name;
    }
  }
}

TEST_F(TrainerTest, AFilterThatSelectsNothingIsAnError) {
  Json config = run();
  config["parameters"] = {{"train", {"norm", "*.q_prj.*"}}};
  EXPECT_THAT(error_of([&] { make_trainer(config, windows()); }).message(),
              HasSubstr("\"*.q_prj.*\" selects no tensor"));
  config["parameters"] = {{"train", "lora"}};
  EXPECT_THAT(error_of([&] { make_trainer(config, windows()); }).message(),
              HasSubstr("there is no lora section"));
  config["parameters"] = {{"train", "norm"}, {"groups", {{{"match", "*mlp*"}}}}};
  EXPECT_THAT(error_of([&] { make_trainer(config, windows()); }).message(),
              HasSubstr("parameters.groups[0].match"));
}

// What is frozen stays as it was to the last bit, also beside trained rows of one fused matrix.
TEST_F(TrainerTest, FrozenTensorsKeepTheirBytes) {
  Json config = run();
  const TemporaryFolder before;
  make_trainer(config, windows())->export_to(before.path());
  config["parameters"] = {{"train", "*v_proj*"}};
  const auto trainer = make_trainer(config, windows());
  for (int i = 0; i < 3; ++i) static_cast<void>(trainer->step());
  const TemporaryFolder after;
  trainer->export_to(after.path());

  const Checkpoint then = Checkpoint::open(before.path());
  const Checkpoint now = Checkpoint::open(after.path());
  for (const std::string& name : then.names()) {
    const ConstTensorView a = then.tensor(name);
    const ConstTensorView b = now.tensor(name);
    const bool is_same =
        std::memcmp(a.data, b.data, static_cast<size_t>(a.count()) * sizeof(float)) == 0;
    EXPECT_EQ(is_same, name.find("v_proj") == std::string::npos) << name;
  }
}

// The learning rate of a group is a factor on its step: with none the tensor stands still.
TEST_F(TrainerTest, GroupsHaveOptionsOfTheirOwn) {
  Json config = run();
  config["parameters"] = {{"groups",
                           {{{"match", "embed"}, {"learning_rate_factor", 0}},
                            {{"match", "*"}, {"weight_decay", 0.5}}}}};
  const auto trainer = make_trainer(config, windows());
  const auto before = trainer->values();
  static_cast<void>(trainer->step());
  const auto after = trainer->values();
  for (size_t i = 0; i < before.size(); ++i) {
    const bool is_embed =
        before[i].name == "lm_head.weight" || before[i].name == "model.embed_tokens.weight";
    EXPECT_EQ(before[i].values == after[i].values, is_embed) << before[i].name;
  }
}

TEST_F(TrainerTest, VectorsMayBeSparedFromDecay) {
  // Both runs have the same gradients, and decay is apart from them: only the norms may differ.
  Json config = run();
  config["optimizer"] = {{"learning_rate", 1e-2}, {"weight_decay", 0.5}, {"decay_vectors", false}};
  const auto spared = make_trainer(config, windows());
  static_cast<void>(spared->step());
  config["optimizer"]["decay_vectors"] = true;
  const auto decayed = make_trainer(config, windows());
  static_cast<void>(decayed->step());
  const auto a = spared->values();
  const auto b = decayed->values();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].shape.size() > 1) {
      EXPECT_EQ(a[i].values, b[i].values) << a[i].name;
      continue;
    }
    // All norms start at 1; the decay of one step is learning rate times weight decay.
    for (size_t k = 0; k < a[i].values.size(); ++k) {
      EXPECT_NEAR(a[i].values[k] - b[i].values[k], 1e-2 * 0.5, 1e-6) << a[i].name;
    }
  }
}

TEST_F(TrainerTest, TiedEmbeddingsAreOneTensorWithBothGradients) {
  const std::string embedding = "model.embed_tokens.weight";
  const std::string output = "lm_head.weight";
  const auto by_name = [](const std::vector<Trainer::NamedValues>& tensors) {
    std::map<std::string, std::vector<float>> values;
    for (const Trainer::NamedValues& named : tensors) values[named.name] = named.values;
    return values;
  };
  // A twin whose output is the same matrix, but one of its own.
  const auto twin = make_trainer(run(), windows());
  model_changes_ = {{"tie_word_embeddings", true}};
  const auto tied = make_trainer(run(), windows());
  std::vector<Trainer::NamedValues> values = tied->values();
  for (size_t i = 0, n = values.size(); i < n; ++i) {
    if (values[i].name != embedding) continue;
    values.push_back(values[i]);
    values.back().name = output;
  }
  twin->set_values(values);

  const auto apart = by_name(twin->gradients());
  const auto together = by_name(tied->gradients());
  EXPECT_FALSE(together.contains(output));
  std::vector<float> sum = apart.at(embedding);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += apart.at(output)[i];
  EXPECT_LT(relative_error(together.at(embedding), sum), 1e-5);
}

// Weights rounded to bf16 are the same to one part in 512, and so is what is learned beside them.
TEST_F(TrainerTest, AdaptersTrainBesideABf16Base) {
  Json config = run();
  config["lora"] = {{"rank", 3}};
  const auto wide = make_trainer(config, windows());
  config["base_dtype"] = "bf16";
  const auto narrow = make_trainer(config, windows());
  EXPECT_LT(narrow->memory().frozen_weights, wide->memory().frozen_weights * 6 / 10);
  for (int i = 0; i < 3; ++i) {
    const TrainingStep a = wide->step();
    const TrainingStep b = narrow->step();
    EXPECT_NEAR(b.loss / a.loss, 1, 1e-2);
    EXPECT_NEAR(b.gradient_norm / a.gradient_norm, 1, 5e-2);
  }
}

// One matrix of a file in bf16 is f32, as after an adapter was merged in f32: nothing is rounded.
TEST_F(TrainerTest, AMixedBaseIsKeptWide) {
  const std::filesystem::path folder = folder_.path() / "mixed";
  std::filesystem::create_directory(folder);
  write_tiny_model(folder, {.dtype = DType::bf16});
  {
    const Checkpoint narrow = Checkpoint::open(folder);
    const std::string widened = "model.layers.1.mlp.down_proj.weight";
    const HostTensor wide = converted(narrow.tensor(widened), DType::f32);
    std::vector<std::pair<std::string, ConstTensorView>> tensors;
    for (const std::string& name : narrow.names()) {
      tensors.emplace_back(name, name == widened ? wide.view() : narrow.tensor(name));
    }
    write_safetensors(folder / "mixed.safetensors", tensors);
  }
  std::filesystem::rename(folder / "mixed.safetensors", folder / "model.safetensors");

  Json config = small_run(folder, 1);
  config.erase("init");
  config["lora"] = {{"rank", 3}};
  const auto found = make_trainer(config, windows());
  config["base_dtype"] = "f32";
  const auto wide = make_trainer(config, windows());
  EXPECT_EQ(found->memory().frozen_weights, wide->memory().frozen_weights);
  EXPECT_EQ(found->step().loss, wide->step().loss);
}

TEST_F(TrainerTest, DropoutIsSeeded) {
  Json config = run();
  config["lora"] = {{"rank", 3}, {"dropout", 0.5}};
  const auto one = values_after(make_trainer(config, windows()), 2);
  EXPECT_EQ(values_after(make_trainer(config, windows()), 2), one);
  config["lora"]["dropout"] = 0.0;
  EXPECT_NE(values_after(make_trainer(config, windows()), 2), one);
}

TEST_F(TrainerTest, TheModelsOwnDropoutIsNotAppliedAndThatIsSaid) {
  std::vector<std::string> keys;
  RuntimeOptions options;
  options.n_threads = 1;
  options.backend = engine_backend();
  options.module_path = engine()->module_path();
  options.logger = std::make_shared<Logger>(
      [&](const LogRecord& record) {
        for (const auto& [name, value] : record.fields) {
          if (record.component == "training" && name == "key") keys.push_back(value);
        }
      },
      LogLevel::warn);
  model_changes_ = {{"attention_dropout", 0.1}, {"hidden_dropout", 0.0}};
  const auto trainer =
      Trainer::create(RuntimeContext::create(options), TrainerConfig::from_json(run()),
                      {windows(), nullptr}, /*resume=*/false);
  EXPECT_EQ(keys, std::vector<std::string>{"attention_dropout"});
}

TEST_F(TrainerTest, ScheduleOfARopeParameterIsFollowed) {
  Json config = run(4);
  config["rope"] = {
      {"train", "linear:scale=1"},
      {"schedule", {{{"scheme", "linear"}, {"parameter", "scale"}, {"at", {{1, 2}, {3, 4}}}}}}};
  const auto trainer = make_trainer(config, windows());
  std::vector<std::string> ropes;
  for (int i = 0; i < 4; ++i) ropes.push_back(trainer->step().rope);
  EXPECT_EQ(ropes, (std::vector<std::string>{"linear:scale=1", "linear:scale=2", "linear:scale=2",
                                             "linear:scale=4"}));
  EXPECT_EQ(trainer->eval_rope(), "linear:scale=4");
}

TEST_F(TrainerTest, TrainAndEvaluationRopesAreSeparate) {
  Json config = run();
  config["rope"] = {{"train", "randomized"}, {"eval", "linear:scale=2"}};
  config["evaluation"] = {{"windows", 4}, {"bucket", 10}};
  const auto trainer = make_trainer(config, windows(), windows());
  const TrainingEvaluation evaluation = trainer->evaluate();
  EXPECT_EQ(evaluation.rope, "linear:scale=2");
  EXPECT_EQ(trainer->step().rope.substr(0, 10), "randomized");
  const TemporaryFolder out;
  trainer->export_to(out.path());
  EXPECT_EQ(read_model_config(out.path()).rope_spec, "linear:scale=2");
}

// The weights that an export reads are mapped from the very file that it would write.
TEST_F(TrainerTest, AnExportMayNotWriteOverWhatTheRunStartedFrom) {
  const TemporaryFolder folder;
  const std::filesystem::path base = folder.path() / "base";
  const std::filesystem::path started = folder.path() / "started";
  make_trainer(run(), windows())->export_to(base);
  Json config = run();
  config["model"] = base.string();
  config.erase("init");
  config["lora"] = {{"rank", 2}};
  make_trainer(config, windows())->export_to(started);
  config["lora"] = {{"from", started.string()}};
  const auto trainer = make_trainer(config, windows());
  static_cast<void>(trainer->step());
  const auto hashes = [&] { return std::pair(hashes_of_files(base), hashes_of_files(started)); };
  const auto before = hashes();
  for (const bool merged : {false, true}) {
    for (const std::filesystem::path& to : {base, base / ".", started}) {
      const Error error = error_of([&] { trainer->export_to(to, merged); });
      EXPECT_EQ(error.code(), Code::invalid_argument);
      EXPECT_EQ(error.field_name(), "folder");
      EXPECT_EQ(error.file(), to.string());
    }
  }
  EXPECT_EQ(hashes(), before);
  folder.write("file", "no folder");
  EXPECT_EQ(error_of([&] { trainer->export_to(folder.path() / "file" / "x"); }).code(),
            Code::not_found);
  trainer->export_to(folder.path() / "elsewhere", /*merged=*/true);
  EXPECT_EQ(hashes(), before);
}

// What an export would say at the end of a run, asked before it.
TEST_F(TrainerTest, AnExportIsCheckedBeforeTheRun) {
  const TemporaryFolder folder;
  folder.write("file", "no folder");
  const auto trainer = make_trainer(run(), windows());
  const Error closed = error_of([&] { trainer->check_export(folder.path() / "file" / "x"); });
  EXPECT_EQ(closed.code(), Code::not_found);

  const Error unmerged = error_of([&] { trainer->check_export(folder.path() / "out", true); });
  EXPECT_EQ(unmerged.code(), Code::invalid_argument);
  EXPECT_EQ(unmerged.field_name(), "merged");
  EXPECT_EQ(error_of([&] { trainer->export_to(folder.path() / "out", true); }).field_name(),
            "merged");

  trainer->check_export(folder.path() / "out");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path() / "out"));
}

TEST_F(TrainerTest, EvaluationsThatCannotBeMadeAreRefusedBeforeTheRun) {
  Json config = run();
  config["evaluation"] = {{"every", 2}};
  const Error none = error_of([&] { make_trainer(config, windows()); });
  EXPECT_EQ(none.code(), Code::invalid_argument);
  EXPECT_EQ(none.field_name(), "evaluation.every");
  EXPECT_THAT(none.message(), testing::HasSubstr("data.holdout"));
}

TEST_F(TrainerTest, EvaluationBucketsAreWeightedByTokens) {
  Json config = run();
  config["evaluation"] = {{"windows", 5}, {"bucket", 8}};
  const auto trainer = make_trainer(config, windows(), windows());
  const TrainingEvaluation evaluation = trainer->evaluate();
  double sum = 0;
  int64_t n = 0;
  for (const LossBucket& bucket : evaluation.buckets) {
    EXPECT_EQ(bucket.last_position - bucket.first_position, 7);
    sum += bucket.loss * static_cast<double>(bucket.n_tokens);
    n += bucket.n_tokens;
  }
  EXPECT_EQ(n, evaluation.n_tokens);
  EXPECT_NEAR(evaluation.loss, sum / static_cast<double>(n), 1e-9);

  // The same windows as one step of training: the same mean, as nothing is dropped or drawn.
  Json step = config;
  step["batch"] = {{"sequences", 5}};
  double loss = 0;
  static_cast<void>(make_trainer(step, windows())->gradients(&loss));
  EXPECT_NEAR(evaluation.loss, loss, 1e-5);
}

TEST_F(TrainerTest, SessionsScoreWhatTheTrainerEvaluates) {
  Json config = run();
  config["evaluation"] = {{"windows", 1}};
  const auto trainer = make_trainer(config, windows(), windows());
  static_cast<void>(trainer->step());
  const double loss = trainer->evaluate().loss;
  const TemporaryFolder out;
  trainer->export_to(out.path());

  const TokenWindow window = windows()->window(0);
  const auto session = Session::create(Model::load(engine(), out.path()), {});
  std::vector<float> nll(window.ids.size());
  session->score(window.ids, nll, {});
  double sum = 0;
  int n = 0;
  for (size_t t = 1; t < nll.size(); ++t) {
    if (window.learned[t] == 0) continue;
    sum += nll[t];
    ++n;
  }
  EXPECT_NEAR(loss, sum / n, 1e-5);
}

TEST_F(TrainerTest, TokensPerStepDecideHowManyWindows) {
  Json config = run();
  config["batch"] = {{"tokens", 70}};
  const auto trainer = make_trainer(config, windows());
  int64_t position = 0;
  for (int i = 0; i < 3; ++i) {
    const TrainingStep step = trainer->step();
    EXPECT_LE(step.n_tokens, 70);
    const auto next = windows()->window(trainer->data_position());
    EXPECT_GT(step.n_tokens + static_cast<int64_t>(next.ids.size()) - 1, 70);
    EXPECT_GT(trainer->data_position(), position);
    position = trainer->data_position();
  }
}

TEST_F(TrainerTest, EpochsCountTheWindows) {
  Json config = run();
  config.erase("steps");
  config["epochs"] = 2.5;
  std::vector<TokenWindow> ten;
  for (int64_t i = 0; i < 10; ++i) ten.push_back(windows()->window(i));
  // 25 windows by fours: 7 steps.
  EXPECT_EQ(make_trainer(config, std::make_shared<GivenWindows>(ten))->n_steps(), 7);
  EXPECT_THAT(error_of([&] { make_trainer(config, windows()); }).message(),
              HasSubstr("the data never end"));
}

TEST_F(TrainerTest, ALossThatIsNoNumberStopsWithTheWindows) {
  Json config = run();
  config["optimizer"] = {{"learning_rate", 1e12}, {"clip", 0}};
  config["divergence"] = {{"nats", 0}};
  const auto trainer = make_trainer(config, windows());
  static_cast<void>(trainer->step());
  const Error error = error_of([&] { static_cast<void>(trainer->step()); });
  EXPECT_EQ(error.code(), Code::aborted);
  EXPECT_THAT(error.message(), HasSubstr("step 2: "));
  EXPECT_THAT(error.message(), HasSubstr("drawn 4, drawn 5"));
  EXPECT_THAT(error.message(), HasSubstr("there is no checkpoint"));
  EXPECT_EQ(trainer->steps_done(), 1);
}

TEST_F(TrainerTest, ADivergingLossStops) {
  Json config = run(60);
  config["optimizer"] = {{"learning_rate", 1.0}, {"clip", 0}};
  config["divergence"] = {{"nats", 0.5}, {"steps", 2}};
  const auto trainer = make_trainer(config, windows());
  const Error error = error_of([&] { trainer->run(); });
  EXPECT_EQ(error.code(), Code::aborted);
  EXPECT_THAT(error.message(), HasSubstr("the loss diverges"));
}

TEST_F(TrainerTest, WindowsThatDoNotFitAreNamed) {
  TokenWindow bad = windows()->window(0);
  bad.ids[3] = 96;
  EXPECT_THAT(error_of([&] {
                static_cast<void>(
                    make_trainer(run(), std::make_shared<GivenWindows>(std::vector{bad}))->step());
              }).message(),
              HasSubstr("drawn 0: token 96 is not in [0, 96)"));
  TokenWindow silent = windows()->window(1);
  silent.learned.assign(silent.ids.size(), 0);
  EXPECT_THAT(
      error_of([&] {
        static_cast<void>(
            make_trainer(run(), std::make_shared<GivenWindows>(std::vector{silent}))->step());
      }).message(),
      HasSubstr("no token of the step's windows is learned"));
  Json config = run();
  config["batch"]["length"] = 10;
  EXPECT_THAT(
      error_of([&] { static_cast<void>(make_trainer(config, windows())->step()); }).message(),
      HasSubstr("batch.length is 10"));
}

TEST_F(TrainerTest, CancelLeavesTheStepUndone) {
  const auto trainer = make_trainer(run(), windows());
  const auto before = trainer->values();
  const auto cancel = std::make_shared<CancelToken>();
  trainer->set_cancel(cancel);
  cancel->request();
  EXPECT_EQ(error_of([&] { static_cast<void>(trainer->step()); }).code(), Code::cancelled);
  EXPECT_EQ(trainer->steps_done(), 0);
  EXPECT_EQ(trainer->data_position(), 0);
  EXPECT_EQ(trainer->values()[0].values, before[0].values);
  cancel->reset();
  static_cast<void>(trainer->step());
  // As if there had been no cancel.
  const auto other = make_trainer(run(), windows());
  static_cast<void>(other->step());
  EXPECT_EQ(trainer->values()[0].values, other->values()[0].values);
}

// A model whose pairs are interleaved trains as its half-split twin does, and its file and adapter
// keep the layout.
TEST_F(TrainerTest, InterleavedPairsTrainAsTheirTwin) {
  const TemporaryFolder twin;
  make_trainer(run(), windows())->export_to(twin.path());
  const Checkpoint checkpoint = Checkpoint::open(twin.path());
  std::vector<HostTensor> permuted;
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  permuted.reserve(checkpoint.names().size());
  for (const std::string& name : checkpoint.names()) {
    ConstTensorView view = checkpoint.tensor(name);
    const bool is_q = name.find("q_proj") != std::string::npos;
    if (is_q || name.find("k_proj") != std::string::npos) {
      permuted.push_back(
          permute_pairs(view, is_q ? 6 : 2, 16, PairLayout::half_split, PairLayout::interleaved));
      view = std::as_const(permuted.back()).view();
    }
    tensors.emplace_back(name, view);
  }
  const TemporaryFolder interleaved;
  write_safetensors(interleaved.path() / "model.safetensors", tensors);
  std::filesystem::copy_file(twin.path() / "config.json", interleaved.path() / "config.json");

  for (const bool with_lora : {false, true}) {
    Json config = run();
    config.erase("init");
    if (with_lora) config["lora"] = {{"rank", 3}};
    config["model"] = twin.path().string();
    const auto plain = make_trainer(config, windows());
    config["model"] = interleaved.path().string();
    config["pair_layout"] = "interleaved";
    const auto other = make_trainer(config, windows());
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(plain->step().loss, other->step().loss) << with_lora;
    }
    const auto a = plain->values();
    const auto b = other->values();
    for (size_t i = 0; i < a.size(); ++i) {
      const bool is_q = a[i].name.find("q_proj") != std::string::npos;
      const bool is_k = a[i].name.find("k_proj") != std::string::npos;
      const bool is_rotated = (is_q || is_k) && a[i].name.find("lora_A") == std::string::npos;
      const ConstTensorView view(a[i].values.data(), DType::f32,
                                 {a[i].shape[0], a[i].shape.size() > 1 ? a[i].shape[1] : 1});
      const HostTensor wanted = is_rotated
                                    ? permute_pairs(view, is_q ? 6 : 2, 16, PairLayout::half_split,
                                                    PairLayout::interleaved)
                                    : converted(view, DType::f32);
      const auto* values = static_cast<const float*>(wanted.view().data);
      EXPECT_EQ(std::vector<float>(values, values + view.count()), b[i].values) << a[i].name;
    }
  }
}

TEST_F(TrainerTest, FreshWeightsAreSeeded) {
  Json config = run();
  const auto one = make_trainer(config, windows())->values();
  EXPECT_EQ(make_trainer(config, windows())->values()[0].values, one[0].values);
  config["seed"] = 6;
  EXPECT_NE(make_trainer(config, windows())->values()[0].values, one[0].values);
  // Smaller where the residual is written: by sqrt(2 layers).
  config["seed"] = 5;
  config["init"]["random"]["scale_residual"] = true;
  const auto scaled = make_trainer(config, windows())->values();
  for (size_t i = 0; i < one.size(); ++i) {
    const bool writes_residual = one[i].name.find("o_proj") != std::string::npos ||
                                 one[i].name.find("down_proj") != std::string::npos;
    const float factor = writes_residual ? static_cast<float>(1 / std::sqrt(6.0)) : 1.0F;
    EXPECT_NEAR(scaled[i].values[0], factor * one[i].values[0], 1e-7) << one[i].name;
  }
}

}  // namespace
}  // namespace okapi::test
