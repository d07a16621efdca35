"""Runs the `okapi` command for the tests: X_test.py OKAPI MODEL DATA [unittest options].

MODEL is the trained model, DATA is tests/data.
"""

import array
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import unittest

OKAPI, MODEL, DATA = sys.argv[1:4]


def run(*arguments, stdin="", environment=None):
    """A finished process with returncode, stdout, stderr as text; `environment` in place of the test's own."""
    return subprocess.run([OKAPI, *map(str, arguments)], input=stdin, text=True, capture_output=True, timeout=300,
                          env=environment)


class CommandTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name, text=None):
        """A file of the test's own folder, written if a text is given."""
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return path

    def succeeds(self, *arguments, stdin=""):
        done = run(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, 0, f"okapi {' '.join(map(str, arguments))}\n{done.stderr}")
        return done.stdout

    def json_of(self, *arguments, stdin=""):
        return json.loads(self.succeeds(*arguments, stdin=stdin))

    def fails(self, code, text, *arguments, stdin=""):
        """It must exit with `code` and say one line that begins with `okapi: ` and holds `text`."""
        done = run(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("okapi: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertIn(text, lines[0])
        return done


def read_safetensors(path):
    """Tensors as (shape, flat list), and the metadata."""
    with open(path, "rb") as file:
        data = file.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    metadata = header.pop("__metadata__", {})
    codes = {"F32": "f", "F64": "d", "I64": "q"}
    tensors = {}
    for name, about in header.items():
        begin, end = about["data_offsets"]
        values = array.array(codes[about["dtype"]], data[8 + n + begin:8 + n + end])
        assert len(values) == math.prod(about["shape"]), name
        tensors[name] = (about["shape"], values)
    return tensors, metadata


def relative_error(found, wanted):
    """Norm of the difference over the norm of what is wanted."""
    difference = math.fsum((a - b) ** 2 for a, b in zip(found, wanted, strict=True))
    return math.sqrt(difference / math.fsum(b * b for b in wanted))


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
