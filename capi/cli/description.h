// What an object says of itself, for people.
#pragma once

#include "capi/cli/command.h"

namespace okapi::cli {

/// A line for each member: its name and its value. Objects are shown by their path, numbers of
/// bytes in units.
void print_description(const Json& about);

}  // namespace okapi::cli
