// The text of a rope: schemes in order, each with parameters.
//
//   spec    = scheme { "|" scheme }
//   scheme  = name [ ":" [ key "=" value { "," key "=" value } ] ]
//   name    = a short name (yarn) or a full id (org.okapi.rope.yarn)
//   value   = plain | quoted; a list separates its numbers by ";": short=1;1.05;1.1
//   plain   = any characters but , | " and, at its ends, blanks; may be empty
//   quoted  = '"' { any character but " and \ | \" | \\ } '"'
//
// Blanks around names, values and separators are ignored. What a value means is the scheme's
// schema's business.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/plugin_host/param_schema.h"

namespace okapi {

struct SchemeText {
  std::string name;
  ParamTexts params;
};

/// At least one scheme. Throws invalid_argument with the column (counted from 1) of what is wrong.
std::vector<SchemeText> parse_rope_spec(std::string_view spec);

}  // namespace okapi
