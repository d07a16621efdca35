#!/usr/bin/env python3
"""Checks that layout_test.c (and its like) freezes every field of every public struct, in order.

check_layout.py INCLUDE_DIR LAYOUT_TEST...
"""

import pathlib
import re
import sys


def structs_of(header):
    """{struct: [field, ...]} of a header, nested function pointer fields included."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
    structs = {}
    for name, body in re.findall(r"^(?:typedef )?struct (\w+) \{(.*?)^\}", text, re.S | re.M):
        fields = []
        for field in filter(None, (part.strip() for part in body.split(";"))):
            found = re.search(r"\(\*(\w+)\)\(", field) or re.search(r"(\w+)(?:\[\w+\])?$", field)
            fields.append(found.group(1))
        structs[name] = fields
    return structs


def main():
    declared = {}
    for header in sorted(pathlib.Path(sys.argv[1]).glob("okapi/**/*.h")):
        declared.update(structs_of(header))
    frozen = {}
    for path in sys.argv[2:]:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        for name in re.findall(r"^SIZE\((\w+),", text, re.M):
            frozen.setdefault(name, [])
        for name, field in re.findall(r"^FIELD\((\w+), (\w+),", text, re.M):
            frozen.setdefault(name, []).append(field)

    problems = [f"{name}: is not frozen" for name in declared if name not in frozen]
    problems += [f"{name}: is frozen, but not declared" for name in frozen if name not in declared]
    problems += [f"{name}: declares {fields}, frozen are {frozen[name]}"
                 for name, fields in declared.items() if name in frozen and frozen[name] != fields]
    print("\n".join(problems) or f"{len(declared)} structs, {sum(map(len, declared.values()))} fields")
    return 1 if problems or len(declared) < 12 else 0


sys.exit(main())
