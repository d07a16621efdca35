#!/usr/bin/env python3
"""The code in README.md works as pasted: its C program answers, its Lua scripts train and give a scheme, as does
its C++ plugin.

Usage: check_readme.py ROOT BUILD_LIB OKAPI WORK CC CXX
"""

import os
import re
import shutil
import subprocess
import sys

root, build_lib, okapi, work, cc, cxx = sys.argv[1:]
os.makedirs(work, exist_ok=True)
include = os.path.join(root, "capi", "include")

with open(os.path.join(root, "README.md"), encoding="utf-8") as readme:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", readme.read(), re.MULTILINE | re.DOTALL)


def write(language, name, mark="", edit=lambda text: text):
    """The one block in this language that has the mark, as a file, edited."""
    (text,) = [edit(text) for tag, text in blocks if tag == language and mark in text]
    path = os.path.join(work, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def run(*command, **settings):
    """What the command prints; README paths are relative to the root."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, **settings).stdout


program = os.path.join(work, "program")
run(cc, "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{include}", write("c", "program.c"),
    "-o", program, f"-L{build_lib}", "-lokapi", f"-Wl,-rpath,{build_lib}")
assert run(program) == "13724>\n", "line rough-pillow holds 13724"

accuracy = float(run(okapi, "run", write("lua", "script.lua", "rope.define")))
assert 0 <= accuracy <= 1, accuracy

plugin = os.path.join(work, "step.so")
run(cxx, "-std=c++20", "-shared", "-fPIC", f"-I{include}", write("cpp", "step.cpp"), "-o", plugin)
run(okapi, "plugins", "check", plugin)
def shorter(text):
    """Two short steps, into a folder of this test."""
    for wanted, instead in [("steps = 150", "steps = 2"), ("tokens = 4096", "tokens = 1100"),
                            ("results/mine", os.path.join(work, "mine"))]:
        assert wanted in text, wanted
        text = text.replace(wanted, instead)
    return text


shutil.rmtree(os.path.join(work, "mine"), ignore_errors=True)
steps = run(okapi, "run", write("lua", "train.lua", "okapi.train", shorter)).splitlines()
assert [line.split()[0] for line in steps] == ["1", "2"], steps
assert os.path.exists(os.path.join(work, "mine", "tuned", "model.safetensors"))
print("the C program, the Lua scripts and the C++ plugin of README.md work")
