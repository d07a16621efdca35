#!/usr/bin/env python3
"""Compares the library's ABI with the kept baseline.

abi_report.py (report|enforce) LIBRARY INCLUDE_DIR BASELINE

LIBRARY must have debug information. `report` prints the differences; `enforce`, from the first release
on, fails on anything but additions. Both fail when the tools cannot read the library or the baseline,
or when either describes no functions. Exit status 77: abidw or abidiff is not there.

A new baseline: abi_report.py write LIBRARY INCLUDE_DIR BASELINE
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
# Exit bits of abidiff (its manual): 1 error, 2 usage, 4 a change, 8 an incompatible change.
ERROR, INCOMPATIBLE = 3, 8


def write_abi(library, include_dir, output):
    subprocess.run(["abidw", "--headers-dir", str(pathlib.Path(include_dir) / "okapi"), "--drop-private-types",
                    "--exported-interfaces-only", "--no-comp-dir-path", "--no-corpus-path", "--no-show-locs",
                    "--no-elf-needed", "--out-file", str(output), library], check=True)
    # The folder it was built in is nobody's business.
    text = re.sub(r"path='[^']*/(capi/src/\w+\.cpp)'", r"path='\1'", pathlib.Path(output).read_text(encoding="utf-8"))
    pathlib.Path(output).write_text(text, encoding="utf-8")
    n_functions = len(re.findall(r"<function-decl name='okapi_", text))
    if n_functions < 90:
        raise SystemExit(f"{library}: only {n_functions} functions described; built without -g?")


def main():
    mode, library, include_dir, baseline = sys.argv[1:5]
    if shutil.which("abidw") is None or shutil.which("abidiff") is None:
        print("SKIPPED: abigail-tools is not installed, so the ABI was not compared with the baseline")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        if mode == "write":
            write_abi(library, include_dir, baseline)
            return 0
        now = pathlib.Path(folder) / "now.abi"
        write_abi(library, include_dir, now)
        result = subprocess.run(["abidiff", "--no-show-locs", baseline, str(now)], text=True,
                                capture_output=True, check=False)
    print(result.stdout + result.stderr or "the ABI is the baseline's")
    if result.returncode & ERROR:
        return 1
    return 1 if mode == "enforce" and result.returncode & INCOMPATIBLE else 0


sys.exit(main())
