#!/usr/bin/env python3
"""Compiles every public header on its own, as strict C99 and as C++11, with one compiler.

check_headers.py COMPILER INCLUDE_DIR

Each is included twice (guards), every OKAPI_*_INIT macro it defines is used to initialise its struct,
and plugin headers may include nothing but <stddef.h>, <stdint.h> and one another. Exit status 77 says
that the compiler is not there.
"""

import pathlib
import re
import shutil
import subprocess
import sys

SKIPPED = 77
LANGUAGES = {
    "C99": ["-std=c99", "-xc"],
    "C++11": ["-std=c++11", "-xc++"],
    "C++20": ["-std=c++20", "-xc++"],
}
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Wmissing-field-initializers", "-Werror"]


def init_macros(text):
    """(macro, struct) of each initialiser, as `#define OKAPI_X_INIT {OKAPI_STRUCT_SIZE(okapi_x, ...`."""
    return re.findall(r"#define\s+(OKAPI_\w+_INIT)\b[\s\\]*\{[\s\\]*OKAPI_STRUCT_SIZE\((\w+),", text)


def program(include_lines, macros):
    lines = list(include_lines) * 2
    for macro, struct in macros:
        lines.append(f"{struct} use_{macro}(void);")
        lines.append(f"{struct} use_{macro}(void) {{ {struct} made = {macro}; return made; }}")
    lines.append("typedef int not_an_empty_unit;")
    return "\n".join(lines) + "\n"


def compile_text(compiler, include_dir, flags, text):
    command = [compiler, *flags, *WARNINGS, "-I", str(include_dir), "-fsyntax-only", "-"]
    return subprocess.run(command, input=text, text=True, capture_output=True, check=False)


def check_plugin_includes(header, text):
    allowed = re.compile(r"<(stddef\.h|stdint\.h|okapi/plugin/\w+\.h)>")
    return [f"{header}: a plugin header may not include {included}"
            for included in re.findall(r"#\s*include\s+(\S+)", text) if not allowed.fullmatch(included)]


def main():
    compiler, include_dir = sys.argv[1], pathlib.Path(sys.argv[2])
    if shutil.which(compiler) is None:
        print(f"SKIPPED: {compiler} is not installed, so the headers were not compiled with it")
        return SKIPPED

    headers = sorted(include_dir.glob("okapi/**/*.h"))
    if len(headers) < 15:
        print(f"found only {len(headers)} headers below {include_dir}")
        return 1

    problems = []
    n_macros = 0
    everything = []
    for header in headers:
        name = header.relative_to(include_dir).as_posix()
        text = header.read_text(encoding="utf-8")
        macros = init_macros(text)
        n_macros += len(macros)
        everything.append(f"#include <{name}>")
        if "/plugin/" in name:
            problems += check_plugin_includes(name, text)
        for language, flags in LANGUAGES.items():
            result = compile_text(compiler, include_dir, flags, program([f"#include <{name}>"], macros))
            if result.returncode != 0:
                problems.append(f"{name} as {language} with {compiler}:\n{result.stderr}")

    # All of them in one unit, in both orders: no two may say different things.
    for language, flags in LANGUAGES.items():
        for order in (everything, everything[::-1]):
            result = compile_text(compiler, include_dir, flags, program(order, []))
            if result.returncode != 0:
                problems.append(f"all headers as {language} with {compiler}:\n{result.stderr}")

    # A check of the check: a header that needs C++ must not pass as C99.
    if compile_text(compiler, include_dir, LANGUAGES["C99"], "class x {};\n").returncode == 0:
        problems.append(f"{compiler} accepts C++ as C99: these checks mean nothing")

    print("\n".join(problems) or f"{len(headers)} headers, {n_macros} initialisers: clean with {compiler}")
    return 1 if problems else 0


sys.exit(main())
