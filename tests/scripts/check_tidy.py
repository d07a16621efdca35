#!/usr/bin/env python3
"""Runs clang-tidy, set by .clang-tidy, over part of the files of a build.

Usage: check_tidy.py ROOT BUILD CLANG_TIDY EVERY [JOBS]. EVERY is how many of the files of each folder are left
out for one that is read: 1 reads all. Which ones is fixed by their order, so a run can be repeated.
"""

import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile

# What gcc takes and clang does not: its precompiled headers, and the warnings that only it has.
ONLY_OF_GCC = re.compile(r"-Winvalid-pch|-include \S+/cmake_pch\.hxx|-Wno-restrict|-Wno-stringop-overflow")

root, build, clang_tidy, every, *jobs = sys.argv[1:]
root = os.path.realpath(root)

by_folder = collections.defaultdict(set)
with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as database:
    entries = json.load(database)
for entry in entries:
    entry["command"] = ONLY_OF_GCC.sub("", entry["command"])
    path = os.path.relpath(os.path.realpath(os.path.join(entry["directory"], entry["file"])), root)
    if path.endswith(".cpp") and path.startswith(("runtime/", "backends/", "capi/", "plugins/")):
        by_folder[os.path.dirname(path)].add(path)

chosen = [path for paths in by_folder.values() for path in sorted(paths)[:: int(every)]]


database = tempfile.TemporaryDirectory()
with open(os.path.join(database.name, "compile_commands.json"), "w", encoding="utf-8") as file:
    json.dump(entries, file)


def tidy(path):
    run = subprocess.run([clang_tidy, "-p", database.name, "--quiet", os.path.join(root, path)],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return path, run.returncode, run.stdout


n_bad = 0
with concurrent.futures.ThreadPoolExecutor(int(jobs[0]) if jobs else 1) as pool:
    for path, code, output in pool.map(tidy, sorted(chosen)):
        n_bad += code != 0
        print(output if code else f"{path}: clean", flush=True)
print(f"{len(chosen)} files read, {n_bad} with findings")
sys.exit(1 if n_bad or not chosen else 0)
