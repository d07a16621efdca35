#include <okapi/cancel.h>

#include <csignal>
#include <thread>

#include "tests/capi/support.h"

using namespace okapi::test;

namespace {

CancelPtr make_token() {
  return create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
}

okapi_cancel* token_of_handler = nullptr;

}  // namespace

TEST(CancelTest, IsRequestedUntilReset) {
  const CancelPtr token = make_token();
  EXPECT_EQ(okapi_cancel_requested(token.get()), 0);
  okapi_cancel_request(token.get());
  okapi_cancel_request(token.get());
  EXPECT_EQ(okapi_cancel_requested(token.get()), 1);
  okapi_cancel_reset(token.get());
  EXPECT_EQ(okapi_cancel_requested(token.get()), 0);
}

TEST(CancelTest, NullIsHarmless) {
  okapi_cancel_request(nullptr);
  okapi_cancel_reset(nullptr);
  okapi_cancel_unref(nullptr);
  EXPECT_EQ(okapi_cancel_requested(nullptr), 0);
  EXPECT_EQ(okapi_cancel_ref(nullptr), nullptr);
  expect_refusal(call([](okapi_error** error) { return okapi_cancel_create(nullptr, error); }),
                 OKAPI_INVALID_ARGUMENT, "cancel");
}

TEST(CancelTest, LivesUntilTheLastReferenceGoes) {
  CancelPtr first = make_token();
  const CancelPtr second(okapi_cancel_ref(first.get()));
  EXPECT_EQ(first.get(), second.get());
  okapi_cancel_request(first.get());
  first.reset();
  EXPECT_EQ(okapi_cancel_requested(second.get()), 1);
}

TEST(CancelTest, MayBeRequestedInASignalHandler) {
  const CancelPtr token = make_token();
  token_of_handler = token.get();
  const auto previous = std::signal(SIGUSR1, [](int) { okapi_cancel_request(token_of_handler); });
  ASSERT_NE(previous, SIG_ERR);
  std::raise(SIGUSR1);
  std::signal(SIGUSR1, previous);
  EXPECT_EQ(okapi_cancel_requested(token.get()), 1);
}

TEST(CancelTest, ARequestIsSeenByAnotherThread) {
  const CancelPtr token = make_token();
  std::thread other([&] { okapi_cancel_request(token.get()); });
  while (okapi_cancel_requested(token.get()) == 0) std::this_thread::yield();
  other.join();
}
