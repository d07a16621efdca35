#!/usr/bin/env python3
"""Runs an embedding example and checks what it prints.

Usage: check_embed.py COMMAND... ; the command is given the model, the scheme and the length by the caller. The model
answers every question up to its trained length, so within it the answer is right and every sample is correct.
"""

import json
import re
import subprocess
import sys

printed = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE, text=True).stdout
print(printed)
assert "answer: <13724>" in printed, "line rough-pillow of the prompt holds 13724"

report = re.search(r"^report: (.*)$", printed, re.MULTILINE)
if report:
    metrics = {metric["name"]: metric for metric in json.loads(report[1])["metrics"]}
    rate, n = metrics["correct"]["value"], metrics["correct"]["n"]
else:
    rate, n = map(float, re.search(r"^correct: (\S+) \[.*\] of (\d+)$", printed, re.MULTILINE).groups())
assert (rate, n) == (1, 8), (rate, n)
