#!/usr/bin/env python3
"""Holds the tree against what is true of every file: a README.md in every folder of code, no path of one
particular machine, nothing left open.

Usage: check_tree.py ROOT. Prints each problem and exits with 1 if there is one.
"""

import os
import re
import sys

from project_files import project_files

# tests/README.md speaks for the folders that mirror the tree, capi/README.md for src, capi/include/README.md for
# those of the headers as they are installed; tests/data says
# where it comes from in a .md beside each file.
_SPOKEN_FOR = re.compile(r"tests/(?!scripts$|support$|data$|install$)|capi/include/|capi/src$|\.ci$")

_MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.])/(work|root|home)/")
_LEFT_OPEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

_TEXT = (".h", ".hpp", ".c", ".cpp", ".cu", ".cuh", ".lua", ".py", ".sh", ".cmake", ".txt", ".md",
         ".json", ".yaml", ".in")


def _is_text(path):
    return path.endswith(_TEXT) or "." not in os.path.basename(path)


def folders_without_readme(paths):
    folders = {os.path.dirname(path) for path in paths} - {""}
    # A folder that holds only folders needs one too.
    for folder in list(folders):
        while "/" in folder:
            folder = os.path.dirname(folder)
            folders.add(folder)
    return sorted(folder for folder in folders
                  if folder + "/README.md" not in paths and not _SPOKEN_FOR.match(folder))


def problems_in_line(line):
    if _MACHINE_PATH.search(line):
        yield "a path of one machine"
    if _LEFT_OPEN.search(line):
        yield "something left open"


def check(root):
    paths = project_files(root)
    problems = [f"{folder}/README.md is missing" for folder in folders_without_readme(set(paths))]
    this_file = os.path.basename(__file__)
    for path in filter(_is_text, paths):
        if os.path.basename(path) in (this_file, "test_checks.py"):
            continue
        with open(os.path.join(root, path), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                problems += [f"{path}:{number}: {problem}" for problem in problems_in_line(line)]
    return problems


if __name__ == "__main__":
    found = check(sys.argv[1])
    print("\n".join(found) or "the tree is in order")
    sys.exit(1 if found else 0)
