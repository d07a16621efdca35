#include "runtime/generation/declared_length.h"

#include <gtest/gtest.h>

#include "runtime/generation/session.h"

namespace okapi {
namespace {

TEST(DeclaredLengthTest, GivenLengthStandsUntilItIsOutgrown) {
  EXPECT_EQ(declared_length(600, 0, 10, 0), 600);
  EXPECT_EQ(declared_length(600, 600, 600, 0), 600);
  EXPECT_EQ(declared_length(600, 600, 10, 9000), 600);  // what is expected has no say
}

TEST(DeclaredLengthTest, OutgrownLengthGrowsByAQuarterAtLeast256AtLeastWhatIsNeeded) {
  EXPECT_EQ(declared_length(600, 600, 601, 0), 856);
  EXPECT_EQ(declared_length(4000, 4000, 4001, 0), 5000);
  EXPECT_EQ(declared_length(600, 600, 2000, 0), 2000);
  EXPECT_EQ(declared_length(600, 0, 700, 0), 856);
}

TEST(DeclaredLengthTest, AutomaticLengthIsTheFirstTokensOrWhatIsExpected) {
  EXPECT_EQ(declared_length(kRopeLengthAuto, 0, 100, 0), 100);
  EXPECT_EQ(declared_length(kRopeLengthAuto, 0, 100, 356), 356);
  EXPECT_EQ(declared_length(kRopeLengthAuto, 356, 200, 356), 356);
}

TEST(DeclaredLengthTest, AutomaticLengthGrowsToWhatIsExpectedOrLikeAGivenOne) {
  EXPECT_EQ(declared_length(kRopeLengthAuto, 100, 101, 0), 356);
  EXPECT_EQ(declared_length(kRopeLengthAuto, 100, 101, 120), 120);
  EXPECT_EQ(declared_length(kRopeLengthAuto, 100, 150, 120), 356);  // more came than was announced
}

TEST(DeclaredLengthTest, FollowIsTheTokensSoFar) {
  EXPECT_EQ(declared_length(kRopeLengthFollow, 0, 10, 500), 10);
  EXPECT_EQ(declared_length(kRopeLengthFollow, 300, 10, 0), 10);
  EXPECT_EQ(declared_length(kRopeLengthFollow, 0, 10, 500, 200), 200);  // no less than it is told
  EXPECT_EQ(declared_length(kRopeLengthFollow, 200, 201, 500, 200), 201);
}

}  // namespace
}  // namespace okapi
