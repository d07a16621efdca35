#!/usr/bin/env python3
"""Runs an embedding example and checks what it prints.

Usage: check_embed.py COMMAND... ; the command is given the model, the scheme and the length by the caller. The model
answers every question up to its trained length, so within it the answer is right and the accuracy is 1.
"""

import json
import re
import subprocess
import sys

printed = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE, text=True).stdout
print(printed)
assert "answer: <90577>" in printed, "line 57 of the prompt holds 90577"

report = re.search(r"^report: (.*)$", printed, re.MULTILINE)
if report:
    metrics = {metric["name"]: metric for metric in json.loads(report[1])["metrics"]}
    accuracy, n = metrics["accuracy"]["value"], metrics["accuracy"]["n"]
else:
    accuracy, n = map(float, re.search(r"^accuracy: (\S+) \[.*\] of (\d+)$", printed, re.MULTILINE).groups())
assert (accuracy, n) == (1, 8), (accuracy, n)
