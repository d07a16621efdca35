#!/usr/bin/env python3
"""Holds what libokapi exports, what its version script lists and what the headers declare equal.

check_exports.py LIBRARY SYMBOLS_FILE INCLUDE_DIR

Also: the SONAME and the symbols' node carry the ABI major of version.h, and the library needs no
libcuda, so that it loads on a machine without a GPU's driver.
"""

import pathlib
import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def exported(library):
    """(name, node) of each symbol defined, the node itself left out."""
    symbols = set()
    for line in output_of("nm", "-D", "--defined-only", library).splitlines():
        _, kind, name = line.split()
        if kind != "A":
            symbols.add(tuple(name.replace("@@", "@").split("@")))
    return symbols


def listed(symbols_file):
    text = re.sub(r"#[^\n]*", "", pathlib.Path(symbols_file).read_text(encoding="utf-8"))
    node = re.search(r"^(\w+)\s*\{", text, re.M).group(1)
    body = re.search(r"global:(.*)local:", text, re.S).group(1)
    return node, re.findall(r"(\w+);", body)


def declared(include_dir):
    names = set()
    for header in pathlib.Path(include_dir).glob("okapi/*.h"):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
        names.update(re.findall(r"OKAPI_API\s[^;(]*?(okapi_\w+)\s*\(", text))
    return names


def differences(what, left, right):
    for name in sorted(left - right):
        yield f"{name}: {what}"


def main():
    library, symbols_file, include_dir = sys.argv[1:4]
    node, names = listed(symbols_file)
    version = (pathlib.Path(include_dir) / "okapi/version.h").read_text(encoding="utf-8")
    major = re.search(r"#define OKAPI_ABI_MAJOR (\d+)", version).group(1)
    dynamic = output_of("readelf", "-d", library)

    wanted = set(names)
    found = exported(library)
    problems = [f"{name}: listed twice" for name in wanted if names.count(name) > 1]
    problems += differences("listed, but not declared in a header", wanted, declared(include_dir))
    problems += differences("declared, but not listed", declared(include_dir), wanted)
    problems += differences("listed, but not exported", wanted, {name for name, *_ in found})
    problems += differences("exported, but not listed", {name for name, *_ in found}, wanted)
    problems += [f"{name}: not okapi's" for name, *_ in found if not name.startswith("okapi_")]
    problems += [f"{symbol}: not in node OKAPI_{major}" for symbol in found if symbol[1:] != (f"OKAPI_{major}",)]
    if node != f"OKAPI_{major}":
        problems.append(f"the node of {symbols_file} is {node}, the ABI major is {major}")
    if f"[libokapi.so.{major}]" not in dynamic:
        problems.append(f"the SONAME is not libokapi.so.{major}:\n{dynamic}")
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    problems += [f"needs {name}" for name in needed if re.match(r"lib(cuda|cudart|nvidia|cublas|cudnn)", name)]

    print("\n".join(problems) or f"{len(wanted)} symbols; needs {' '.join(needed)}")
    return 1 if problems else 0


sys.exit(main())
