#!/usr/bin/env python3
"""Reads every include line of the tree and reports those that point against the arrows.

    cli, lua, examples, embedders --> capi/include <-- plugins (and nothing else of okapi)
                capi/src --> runtime --> backends/backend.h <-- backends/cpu, backends/cuda

Usage: check_includes.py ROOT. Prints FILE:LINE: REASON for each and exits with 1 if there is one.
"""

import os
import re
import sys

from project_files import code_files

# Folder of the file that includes -> prefixes of our own files that it may include. The longest folder
# that fits decides. Every folder may also include its own files.
ALLOWED = {
    "capi/include/okapi/plugin": [],
    "capi/include/okapi": ["capi/include/okapi/"],
    "capi/cli": ["capi/include/okapi/", "capi/lua/"],
    "capi/lua": ["capi/include/okapi/"],
    "capi/examples": ["capi/include/okapi/"],
    "capi/src": ["capi/include/okapi/", "runtime/"],
    "plugins": ["capi/include/okapi/plugin/"],
    "runtime": ["capi/include/okapi/", "backends/backend.h", "backends/half.h", "backends/sampling.h",
                "backends/tensor_view.h", "backends/training.h"],
    "runtime/base": ["capi/include/okapi/"],
    "backends": [],
    "tests": [""],
}

# Library -> how its includes begin -> the folders that wrap it, outside of which it is not seen.
WRAPPED = [
    ("oneDNN", r"(oneapi/)?dnnl", ["backends/cpu"]),
    ("CUDA", r"cuda|cublas|cudnn|nccl|cub/|mma\.h", ["backends/cuda"]),
    ("yaml-cpp", r"yaml-cpp/", ["capi/cli"]),
    ("sentencepiece", r"sentencepiece", ["runtime/tokenizer"]),
    ("SQLite", r"sqlite3", ["runtime/results"]),
    ("libelf", r"(libelf|gelf|elf)(\.h|/)", ["runtime/plugin_host"]),
    ("nettle", r"nettle/", ["runtime/base"]),
    ("Lua", r"(lua|lualib|lauxlib|luaconf)\.h(pp)?$", ["capi/lua", "capi/cli"]),
    ("CLI11", r"CLI/", ["capi/cli"]),
]

# Written by the build, from what lies in the tree.
GENERATED = {"okapi_build_id.h"}

_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def _inside(path, folder):
    return path == folder or path.startswith(folder + "/")


def _rule_for(path):
    folders = [folder for folder in ALLOWED if _inside(path, folder)]
    return max(folders, key=len) if folders else None


def _own_file(root, path, bracket, name):
    """The project file that an include names, or None if it is somebody else's."""
    if name.startswith("okapi/"):
        return "capi/include/" + name
    if bracket == '"':
        beside = os.path.join(os.path.dirname(path), name)
        if os.path.exists(os.path.join(root, beside)):
            return os.path.normpath(beside).replace(os.sep, "/")
        return name
    return None


def problem_with(root, path, bracket, name):
    """Why `path` may not include `name`, or None."""
    if ".." in name.split("/"):
        return f"{name}: an include names a file from the root, without '..'"
    if name in GENERATED:
        return None
    own = _own_file(root, path, bracket, name)
    if own is None:
        for library, pattern, folders in WRAPPED:
            if re.match(pattern, name) and not any(_inside(path, f) for f in folders + ["tests"]):
                return f"<{name}>: {library} is seen only in {', '.join(folders)}"
        return None
    if name.startswith("okapi/") and bracket == '"':
        return f'"{name}": public headers are included with <>'
    if not os.path.exists(os.path.join(root, own)):
        return f"{name}: there is no such file in the tree"
    rule = _rule_for(path)
    if rule is None:
        return f"{path} lies in a folder that check_includes.py has no rule for"
    if _inside(own, rule) or any(own.startswith(prefix) for prefix in ALLOWED[rule]):
        return None
    return f"{own}: {rule} may include only {', '.join(ALLOWED[rule]) or 'its own files'}"


def check(root):
    problems = []
    for path in code_files(root):
        with open(os.path.join(root, path), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                match = _INCLUDE.match(line)
                reason = match and problem_with(root, path, match[1], match[2])
                if reason:
                    problems.append(f"{path}:{number}: {reason}")
    return problems


if __name__ == "__main__":
    found = check(sys.argv[1])
    print("\n".join(found) or "every include follows the arrows")
    sys.exit(1 if found else 0)
