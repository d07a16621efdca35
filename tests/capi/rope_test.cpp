#include <okapi/rope.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

/// A scheme in C: the table so far divided by a parameter.
struct Divider {
  std::atomic<int> n_destroyed{0};
  std::atomic<std::thread::id> called_on{};
};

struct DividerInstance {
  Divider* divider;
  double by;
};

int32_t divider_create(void* state, const okapi_params* params, void** instance, uint32_t*,
                       const okapi_error_sink* sink) {
  const double by = params->find(params, "by")->number;
  if (by == 13) {
    sink->report(sink, "by", "must not be 13");
    return OKAPI_INVALID_ARGUMENT;
  }
  *instance = new DividerInstance{static_cast<Divider*>(state), by};
  return OKAPI_OK;
}

void divider_destroy(void* instance) { delete static_cast<DividerInstance*>(instance); }

int32_t divider_table(void* instance, const okapi_rope_geometry* geometry,
                      okapi_rope_table_v1* table, const okapi_error_sink*) {
  const auto* self = static_cast<DividerInstance*>(instance);
  self->divider->called_on = std::this_thread::get_id();
  for (int32_t pair = 0; pair < table->n_pairs; ++pair) {
    table->inv_freq[pair] = geometry->inv_freq[pair] / self->by;
  }
  table->n_written = table->n_pairs;
  return OKAPI_OK;
}

okapi_rope_scheme_v1 divider_scheme() {
  okapi_rope_scheme_v1 scheme = {};
  scheme.struct_size = sizeof scheme;
  scheme.create = divider_create;
  scheme.destroy = divider_destroy;
  scheme.table = divider_table;
  return scheme;
}

constexpr const char* kDividerParameters =
    R"([{"name": "by", "type": "number", "default": 2, "above": 0, "help": "divisor"}])";

class RopeTest : public testing::Test {
 protected:
  Outcome try_create(const char* spec) {
    okapi_rope* rope = nullptr;
    Outcome outcome = call(
        [&](okapi_error** error) { return okapi_rope_create(model_.get(), spec, &rope, error); });
    EXPECT_EQ(outcome.status == OKAPI_OK, rope != nullptr);
    okapi_rope_unref(rope);
    return outcome;
  }

  Outcome register_divider(const char* name, const char* parameters = kDividerParameters) {
    const okapi_rope_scheme_v1 scheme = divider_scheme();
    return call([&](okapi_error** error) {
      return okapi_runtime_register_rope(
          runtime_.get(), name, parameters, &scheme, &divider_,
          [](void* user_data) { static_cast<Divider*>(user_data)->n_destroyed++; }, error);
    });
  }

  static std::string canonical(const RopePtr& rope) {
    return text_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_rope_canonical(rope.get(), buffer, capacity, needed, error);
    });
  }

  static std::vector<double> frequencies(const RopePtr& rope, int64_t declared_length = 0) {
    std::vector<double> inv_freq(8);
    size_t n_pairs = 0;
    const Outcome outcome = call([&](okapi_error** error) {
      return okapi_rope_table(rope.get(), declared_length, 0, inv_freq.data(), inv_freq.size(),
                              &n_pairs, nullptr, nullptr, error);
    });
    EXPECT_EQ(outcome.status, OKAPI_OK) << outcome.message();
    EXPECT_EQ(n_pairs, 8U);
    return inv_freq;
  }

  Divider divider_;  // outlives the runtime
  RuntimePtr runtime_ = make_runtime();
  ModelPtr model_ = make_random_model(runtime_.get());
};

}  // namespace

TEST_F(RopeTest, PlainFrequenciesAreAPowerOfTheBase) {
  const std::vector<double> plain = frequencies(make_rope(model_.get(), "plain"));
  for (int pair = 0; pair < 8; ++pair)
    EXPECT_NEAR(plain[pair], std::pow(10000.0, -pair / 8.0), 1e-15);
}

TEST_F(RopeTest, LinearDividesThem) {
  const std::vector<double> plain = frequencies(make_rope(model_.get(), "plain"));
  const std::vector<double> linear = frequencies(make_rope(model_.get(), "linear:scale=4"));
  for (int pair = 0; pair < 8; ++pair) EXPECT_DOUBLE_EQ(linear[pair], plain[pair] / 4);
}

TEST_F(RopeTest, NoSpecIsTheModelsOwn) {
  EXPECT_EQ(canonical(make_rope(model_.get(), nullptr)),
            canonical(make_rope(model_.get(), "plain")));
  EXPECT_EQ(canonical(make_rope(model_.get(), "")), canonical(make_rope(model_.get(), "plain")));
}

TEST_F(RopeTest, CanonicalTextReadsBackAsTheSameRope) {
  for (const char* spec :
       {"linear:scale=4", "yarn:scale=4", "linear:scale=2 | truncated:length=32"}) {
    const RopePtr rope = make_rope(model_.get(), spec);
    const std::string text = canonical(rope);
    const RopePtr again = make_rope(model_.get(), text.c_str());
    EXPECT_EQ(canonical(again), text);
    EXPECT_EQ(frequencies(again), frequencies(rope));
  }
}

TEST_F(RopeTest, TableTellsGainAndTemperature) {
  const RopePtr rope = make_rope(model_.get(), "yarn:scale=4");
  double gain = 0;
  double temperature = 0;
  size_t n_pairs = 0;
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_rope_table(rope.get(), 0, 1, nullptr, 0, &n_pairs, &gain, &temperature,
                                      error);
            }).status,
            OKAPI_OK);
  EXPECT_EQ(n_pairs, 8U);
  EXPECT_NEAR(gain, 0.1 * std::log(4.0) + 1, 1e-12);  // the paper's section 3
  EXPECT_EQ(temperature, 1.0);
}

TEST_F(RopeTest, TableRefusesWhatIsNotThere) {
  const RopePtr rope = make_rope(model_.get(), "plain");
  double inv_freq[8];
  size_t n_pairs = 0;
  const auto table = [&](int64_t length, int32_t layer, size_t capacity) {
    return call([&](okapi_error** error) {
      return okapi_rope_table(rope.get(), length, layer, inv_freq, capacity, &n_pairs, nullptr,
                              nullptr, error);
    });
  };
  expect_refusal(table(0, 2, 8), OKAPI_OUT_OF_RANGE, "layer");
  expect_refusal(table(0, -1, 8), OKAPI_OUT_OF_RANGE, "layer");
  expect_refusal(table(0, 0, 7), OKAPI_OUT_OF_RANGE, "inv_freq");
  expect_refusal(table(-1, 0, 8), OKAPI_INVALID_ARGUMENT, "declared_length");
}

TEST_F(RopeTest, DeclaredLengthMovesASchemeThatDependsOnIt) {
  const RopePtr rope = make_rope(model_.get(), "dynamic_ntk");
  EXPECT_EQ(frequencies(rope, kTrainedLength), frequencies(make_rope(model_.get(), "plain")));
  EXPECT_LT(frequencies(rope, 4 * kTrainedLength)[7], frequencies(rope, kTrainedLength)[7]);
}

TEST_F(RopeTest, UnknownSchemesAndKeysAreNamed) {
  const Outcome unknown = try_create("no_such_scheme");
  EXPECT_EQ(unknown.status, OKAPI_NOT_FOUND);
  EXPECT_THAT(unknown.message(),
              testing::AllOf(testing::HasSubstr("no_such_scheme"), testing::HasSubstr("yarn")));
  const Outcome key = try_create("linear:sale=4");
  EXPECT_EQ(key.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(key.message(), testing::HasSubstr("sale"));
  EXPECT_EQ(try_create("linear:scale=fast").status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(try_create("linear:scale=4 |").status, OKAPI_INVALID_ARGUMENT);
}

TEST_F(RopeTest, DescribesAndExplainsItself) {
  const RopePtr rope = make_rope(model_.get(), "linear:scale=4");
  const okapi::Json described =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_rope_describe(rope.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(described["schemes"].size(), 1U);

  const okapi::Json explained =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_rope_explain(rope.get(), 256, buffer, capacity, needed, error);
      });
  ASSERT_EQ(explained["pairs"].size(), 8U);
  EXPECT_DOUBLE_EQ(explained["pairs"][0]["inv_freq"].get<double>(), 0.25);
  EXPECT_DOUBLE_EQ(explained["pairs"][0]["wavelength"].get<double>(), 8 * std::acos(-1.0));
  EXPECT_EQ(explained["geometry"]["target_length"], 256);
  EXPECT_TRUE(explained["table"].contains("sha256"));
}

TEST_F(RopeTest, AShapeIsEnoughWithoutAModel) {
  okapi_rope_shape shape = OKAPI_ROPE_SHAPE_INIT;
  shape.head_dim = 16;
  shape.trained_length = kTrainedLength;
  const auto try_shape = [&](const char* spec, RopePtr* out) {
    okapi_rope* rope = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_rope_create_for_shape(runtime_.get(), &shape, spec, &rope, error);
    });
    out->reset(rope);
    return outcome;
  };
  RopePtr rope;
  ASSERT_EQ(try_shape("yarn:scale=4", &rope).status, OKAPI_OK);
  EXPECT_EQ(frequencies(rope), frequencies(make_rope(model_.get(), "yarn:scale=4")));

  EXPECT_EQ(try_shape("", &rope).status, OKAPI_INVALID_ARGUMENT);
  shape.head_dim = 15;
  EXPECT_EQ(try_shape("plain", &rope).status, OKAPI_INVALID_ARGUMENT);
  shape.head_dim = 0;
  expect_refusal(try_shape("plain", &rope), OKAPI_INVALID_ARGUMENT, "shape.head_dim");
  shape.head_dim = 16;
  shape.trained_length = 0;
  expect_refusal(try_shape("plain", &rope), OKAPI_INVALID_ARGUMENT, "shape.trained_length");
  shape.trained_length = 64;
  shape.base = std::nan("");
  EXPECT_EQ(try_shape("plain", &rope).status, OKAPI_INVALID_ARGUMENT);
}

TEST_F(RopeTest, AnEmbeddersSchemeWorksLikeAPlugins) {
  ASSERT_EQ(register_divider("divider").status, OKAPI_OK);
  EXPECT_EQ(frequencies(make_rope(model_.get(), "divider:by=4")),
            frequencies(make_rope(model_.get(), "linear:scale=4")));
  EXPECT_EQ(frequencies(make_rope(model_.get(), "linear:scale=2 | divider")),
            frequencies(make_rope(model_.get(), "linear:scale=4")));
  EXPECT_EQ(divider_.called_on.load(), std::this_thread::get_id());

  const Outcome refused = try_create("divider:by=13");
  EXPECT_EQ(refused.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(refused.message(), testing::HasSubstr("must not be 13"));
  EXPECT_EQ(try_create("divider:by=0").status, OKAPI_INVALID_ARGUMENT) << "its declared range";
  EXPECT_EQ(try_create("divider:of=2").status, OKAPI_INVALID_ARGUMENT) << "an undeclared key";
}

TEST_F(RopeTest, AnEmbeddersSchemeIsDestroyedOnceAfterItsLastUser) {
  ASSERT_EQ(register_divider("divider").status, OKAPI_OK);
  RopePtr rope = make_rope(model_.get(), "divider");
  runtime_.reset();
  model_.reset();
  EXPECT_EQ(divider_.n_destroyed, 0);
  EXPECT_EQ(frequencies(rope)[0], 0.5);
  rope.reset();
  EXPECT_EQ(divider_.n_destroyed, 1);
}

TEST_F(RopeTest, ARefusedRegistrationDestroysNothing) {
  ASSERT_EQ(register_divider("divider").status, OKAPI_OK);
  EXPECT_EQ(register_divider("divider").status, OKAPI_ALREADY_EXISTS);
  EXPECT_EQ(register_divider("yarn").status, OKAPI_ALREADY_EXISTS);
  EXPECT_EQ(register_divider("two words").status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(register_divider("other", "{").status, OKAPI_INVALID_ARGUMENT);
  model_.reset();
  runtime_.reset();
  EXPECT_EQ(divider_.n_destroyed, 1);
}

TEST_F(RopeTest, ReferencesAreCounted) {
  RopePtr first = make_rope(model_.get(), "plain");
  const RopePtr second(okapi_rope_ref(first.get()));
  first.reset();
  EXPECT_EQ(frequencies(second)[0], 1.0);
}
