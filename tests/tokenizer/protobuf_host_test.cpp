// A host program that links a protobuf of its own and opens a tokenizer. libsentencepiece exports
// an older protobuf; linked in the plain way, or opened without RTLD_DEEPBIND, it ends this
// process.

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/tokenizer/tokenizer_support.h"

namespace okapi::test {
namespace {

void use_protobuf() {
  google::protobuf::Struct message;
  (*message.mutable_fields())["animal"].set_string_value("okapi");
  google::protobuf::Struct read;
  ASSERT_TRUE(read.ParseFromString(message.SerializeAsString()));
  EXPECT_EQ(read.fields().at("animal").string_value(), "okapi");
  std::string text;
  ASSERT_TRUE(google::protobuf::TextFormat::PrintToString(read, &text));
  EXPECT_NE(text.find("okapi"), std::string::npos);
  EXPECT_FALSE(read.ParseFromString("\xFF\xFF"));
}

TEST(ProtobufHostTest, BothProtobufsLiveInOneProcess) {
  use_protobuf();
  {
    const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode("An okapi roams.", true)), "An okapi roams.");
    use_protobuf();
    EXPECT_EQ(open_tokenizer(tokenizer_data("small.model"))->vocab_size(), 1000);
  }
  use_protobuf();
}

}  // namespace
}  // namespace okapi::test
