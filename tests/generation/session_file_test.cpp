#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "runtime/base/error.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/safetensors.h"
#include "tests/support/engine.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

constexpr int64_t kVocab = 128;

std::shared_ptr<const Model> small_model() {
  static const std::shared_ptr<const Model> kModel =
      Model::random(engine(), small_config(kVocab), 7);
  return kModel;
}

template <typename Call>
Error error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "did not fail";
  return Error(Code::ok, "");
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class SessionFile : public testing::TestWithParam<const char*> {
 protected:
  SessionOptions options() const {
    SessionOptions options;
    options.rope = small_model()->parse_rope(GetParam());
    options.context_length = 400;
    options.prefill_chunk = 50;
    options.seed = 1234567890123456789U;
    return options;
  }
  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "session.safetensors";
};

TEST_P(SessionFile, RestoredSessionGoesOnAsIfNeverSaved) {
  for (const int64_t n : {1, 64, 150}) {
    const auto session = Session::create(small_model(), options());
    session->prefill(random_ids(n, kVocab, 1));
    session->save(path_);
    const auto restored = Session::restore(small_model(), path_);
    EXPECT_EQ(restored->n_tokens(), n);
    EXPECT_TRUE(std::equal(session->tokens().begin(), session->tokens().end(),
                           restored->tokens().begin(), restored->tokens().end()));
    EXPECT_EQ(restored->declared_length(), session->declared_length());
    EXPECT_EQ(restored->rope()->canonical(), session->rope()->canonical());
    Json here = session->describe();
    Json there = restored->describe();
    EXPECT_EQ(there.at("rope").at("spec"), here.at("rope").at("spec"));
    here.erase("rope");  // where a parameter came from is told otherwise once it was written out
    there.erase("rope");
    EXPECT_EQ(there, here);

    // Magnitudes are taken relative to a token near the ones being computed, which for a restored
    // session is another one: equal to rounding. All else is equal to the bit.
    const double bound = session->rope()->has_magnitudes() ? 2e-5 : 0.0;
    for (int step = 0; step < 3; ++step) {
      session->decode(5 + step);
      restored->decode(5 + step);
      EXPECT_LE(relative_error(restored->logits(), session->logits()), bound);
    }
  }
}

TEST_P(SessionFile, EmptyAndUnfedSessionsAreKept) {
  const auto empty = Session::create(small_model(), options());
  empty->save(path_);
  EXPECT_EQ(Session::restore(small_model(), path_)->n_tokens(), 0);

  const auto generated = Session::create(small_model(), options());
  GenerateOptions generate;
  generate.max_tokens = 5;
  generate.ignore_eos = true;
  Generation first;
  generated->generate(random_ids(20, kVocab, 1), generate, &first);
  generated->save(path_);
  const auto restored = Session::restore(small_model(), path_);
  Generation here;
  Generation there;
  generated->generate({}, generate, &here);
  restored->generate({}, generate, &there);
  EXPECT_EQ(there.ids, here.ids);
}

INSTANTIATE_TEST_SUITE_P(Ropes, SessionFile,
                         testing::Values("plain", "dynamic_ntk:scale=2", "xpos:scale_base=16",
                                         "linear:scale=4 | truncated:length=32"));

TEST(SessionFileTest, GivenPositionsAreKept) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "session.safetensors";
  SessionOptions options;
  for (int i = 0; i < 100; ++i) options.positions.push_back(1.5 * i + 0.25);
  const auto session = Session::create(small_model(), options);
  session->prefill(random_ids(90, kVocab, 1));
  session->save(path);
  const auto restored = Session::restore(small_model(), path);
  session->decode(4);
  restored->decode(4);
  EXPECT_EQ(relative_error(restored->logits(), session->logits()), 0.0);
}

TEST(SessionFileTest, AnotherModelIsRefusedNamingBoth) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "session.safetensors";
  const auto session = Session::create(small_model(), {});
  session->prefill(random_ids(9, kVocab, 1));
  session->save(path);

  const auto other = Model::random(engine(), small_config(kVocab), 8);
  const Error error = error_of([&] { Session::restore(other, path); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_EQ(error.field_name(), "model_sha256");
  EXPECT_THAT(error.message(), testing::HasSubstr(small_model()->sha256()));
  EXPECT_THAT(error.message(), testing::HasSubstr(other->sha256()));
  EXPECT_EQ(error.file(), path.string());

  ModelOptions as_bf16;
  as_bf16.dtype = DType::bf16;
  const auto rounded = Model::random(engine(), small_config(kVocab), 7, as_bf16);
  EXPECT_EQ(error_of([&] { Session::restore(rounded, path); }).field_name(), "weights_dtype");
}

/// The saved file with one metadata entry changed.
void change_metadata(const std::filesystem::path& from, const std::filesystem::path& to,
                     const std::string& key, const std::string& value) {
  const SafetensorsFile file = SafetensorsFile::open(from);
  std::map<std::string, std::string> metadata = file.metadata();
  metadata.at(key) = value;
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  write_safetensors(to, tensors, metadata);
}

TEST(SessionFileTest, ChangedFilesAreRefusedNamingTheField) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "session.safetensors";
  const std::filesystem::path changed = folder.path() / "changed.safetensors";
  SessionOptions options;
  options.rope = small_model()->parse_rope("yarn:scale=4");
  const auto session = Session::create(small_model(), options);
  session->prefill(random_ids(9, kVocab, 1));
  session->save(path);
  change_metadata(path, changed, "rope", "yarn:scale=4");  // unchanged in meaning
  EXPECT_NO_THROW(Session::restore(small_model(), changed));

  struct Case {
    const char* key;
    const char* value;
    Code code;
    const char* field;
  };
  const Case cases[] = {
      {"format", "something else", Code::data_loss, "format"},
      {"rope", "yarn:scale=8", Code::failed_precondition, "table_sha256"},
      {"rope", "warp:scale=8", Code::not_found, nullptr},
      {"plugins", R"([{"id":"org.okapi.rope.yarn","version":"9.9"}])", Code::failed_precondition,
       "plugins"},
      {"declared_length", "-4", Code::data_loss, "declared_length"},
      {"declared_length", "many", Code::data_loss, nullptr},
      {"options", "{}", Code::invalid_argument, "options.rope_length"},
      {"table_sha256", "00", Code::failed_precondition, "table_sha256"},
  };
  for (const Case& c : cases) {
    change_metadata(path, changed, c.key, c.value);
    const Error error = error_of([&] { Session::restore(small_model(), changed); });
    EXPECT_EQ(error.code(), c.code) << c.key << " " << c.value << ": " << error.full_message();
    if (c.field != nullptr) {
      EXPECT_EQ(error.field_name(), c.field) << c.value;
    }
  }
}

TEST(SessionFileTest, CutOrAbsentFilesAreErrors) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "session.safetensors";
  EXPECT_EQ(error_of([&] { Session::restore(small_model(), path); }).code(), Code::not_found);

  const auto session = Session::create(small_model(), {});
  session->prefill(random_ids(70, kVocab, 1));
  session->save(path);
  const std::string whole = bytes_of(path);
  for (const size_t n : {size_t{0}, size_t{7}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    folder.write("session.safetensors", whole.substr(0, n));
    EXPECT_THROW(Session::restore(small_model(), path), Error) << n << " bytes";
  }
  // One bit of the tensors.
  for (const size_t from_end : {size_t{1}, size_t{300}, size_t{5000}}) {
    std::string changed = whole;
    changed[changed.size() - from_end] = static_cast<char>(changed[changed.size() - from_end] ^ 1);
    folder.write("session.safetensors", changed);
    const Error error = error_of([&] { Session::restore(small_model(), path); });
    EXPECT_EQ(error.code(), Code::data_loss) << error.full_message();
    EXPECT_EQ(error.field_name(), "tensors_sha256");
  }
  // A file of another sort.
  write_safetensors(path, {}, {});
  EXPECT_EQ(error_of([&] { Session::restore(small_model(), path); }).code(), Code::data_loss);
}

}  // namespace
}  // namespace okapi::test
