#!/usr/bin/env python3
"""Holds every source file against .clang-format, or brings it in line.

Usage: check_format.py ROOT CLANG_FORMAT [--fix]
"""

import subprocess
import sys

from project_files import code_files

root, clang_format, *options = sys.argv[1:]
mode = ["-i"] if "--fix" in options else ["--dry-run", "-Werror", "--ferror-limit=1"]
sys.exit(subprocess.run([clang_format, "--style=file", *mode, *code_files(root)], cwd=root).returncode)
