#!/usr/bin/env python3
"""Checks that every public declaration says from which threads it may be called and since when.

check_declarations.py INCLUDE_DIR

Functions carry [thread-safe] or [session], function pointer types [callback], and both, like structs,
@since. Function pointers within structs of the host ABI carry [callback] too, unless the struct's or
the type's own comment says it.
"""

import pathlib
import re
import sys

COMMENT = re.compile(r"((?:^[ \t]*///[^\n]*\n)*)", re.M)
DECLARATION = re.compile(
    r"(?P<comment>(?:^///[^\n]*\n)*)^(?P<text>OKAPI_API\s[^;]*;|typedef\s+[^;{(]*\(\*[^;]*;|typedef\s+struct\s+\w+\s*\{)",
    re.M)


def name_of(text):
    for pattern in (r"\(\*\s*(\w+)\)", r"typedef\s+struct\s+(\w+)", r"(okapi_\w+)\s*\("):
        found = re.search(pattern, text)
        if found:
            return found.group(1)
    return text


def kind_of(text):
    if text.startswith("OKAPI_API"):
        return "function"
    return "struct" if text.rstrip().endswith("{") else "callback"


def problems_of(name, kind, comment):
    tags = {"function": ("[thread-safe]", "[session]"), "callback": ("[callback]",), "struct": ()}[kind]
    if tags and sum(tag in comment for tag in tags) != 1:
        yield f"{name}: needs one of {' or '.join(tags)}"
    if not re.search(r"@since \d+\.\d+", comment):
        yield f"{name}: says not since when"


def check(text, is_plugin):
    """Problems, and how many declarations of each kind were seen."""
    problems, seen = [], {"function": 0, "callback": 0, "struct": 0}
    for found in DECLARATION.finditer(text):
        kind = kind_of(found["text"])
        seen[kind] += 1
        problems += problems_of(name_of(found["text"]), kind, found["comment"])
    if not is_plugin:
        for pointer in re.finditer(r"^  \w[^;\n]*\(\*(\w+)\)\([^;]*;([^\n]*)$", text, re.M):
            if "[callback]" not in pointer[2]:
                problems.append(f"field {pointer[1]}: needs [callback]")
    return problems, seen


BAD_EXAMPLE = """
/// Says nothing of threads.
/// @since 0.1
OKAPI_API void okapi_without_tag(void);

/// @note [thread-safe]
OKAPI_API void okapi_without_since(void);

/// @since 0.1
typedef void (*okapi_callback_without_tag)(void* user_data);
"""


def main():
    include_dir = pathlib.Path(sys.argv[1])
    problems, _ = check(BAD_EXAMPLE, False)
    if len(problems) != 3:
        print(f"the check itself misses faults: {problems}")
        return 1

    problems = []
    total = {"function": 0, "callback": 0, "struct": 0}
    for header in sorted(include_dir.glob("okapi/**/*.h")):
        text = header.read_text(encoding="utf-8")
        found, seen = check(text, "/plugin/" in header.as_posix())
        # Nothing may hide from the pattern above.
        if seen["function"] != len(re.findall(r"^OKAPI_API\b", text, re.M)):
            found.append("a declaration that this script cannot read")
        problems += [f"{header.name}: {problem}" for problem in found]
        for kind, count in seen.items():
            total[kind] += count

    print("\n".join(problems) or f"checked {total}")
    return 1 if problems or total["function"] < 60 else 0


sys.exit(main())
