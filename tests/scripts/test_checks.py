#!/usr/bin/env python3
"""The checks of this folder find what they are there to find: each is shown a small tree with one fault."""

import os
import sys
import tempfile
import unittest

import check_includes
import check_tree


def tree(files):
    """A folder with these files, gone when the returned object is."""
    folder = tempfile.TemporaryDirectory()
    for path, text in files.items():
        full = os.path.join(folder.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as out:
            out.write(text)
    return folder


SOUND = {
    "capi/include/okapi/model.h": "#include <stdint.h>\n",
    "capi/include/okapi/plugin/rope.h": "#include <stddef.h>\n",
    "capi/src/model.cpp": '#include <okapi/model.h>\n#include "runtime/model/model.h"\n',
    "capi/cli/main.cpp": "#include <CLI/CLI.hpp>\n#include <okapi/model.h>\n",
    "runtime/model/model.h": '#include "backends/backend.h"\n#include "runtime/base/error.h"\n',
    "runtime/base/error.h": "#include <string>\n",
    "runtime/results/store.cpp": "#include <sqlite3.h>\n",
    "backends/backend.h": "#include <span>\n",
    "backends/cpu/matmul.cpp": '#include <dnnl.hpp>\n#include "backends/backend.h"\n',
    "plugins/rope/yarn.cpp": "#include <okapi/plugin/rope.h>\n",
    "tests/model/model_test.cpp": '#include <sqlite3.h>\n#include "runtime/model/model.h"\n',
}


class IncludesTest(unittest.TestCase):
    def problems(self, planted):
        with tree({**SOUND, **planted}) as root:
            return check_includes.check(root)

    def test_a_sound_tree_has_no_problem(self):
        self.assertEqual(self.problems({}), [])

    def test_each_reversed_arrow_is_found(self):
        reversed_arrows = {
            "runtime/model/bad.cpp": '"capi/src/model.cpp"',
            "runtime/model/bad.h": '"backends/cpu/matmul.cpp"',
            "runtime/base/bad.h": '"runtime/model/model.h"',
            "backends/cpu/bad.cpp": '"runtime/model/model.h"',
            "plugins/rope/bad.cpp": "<okapi/model.h>",
            "plugins/rope/worse.cpp": '"runtime/base/error.h"',
            "capi/cli/bad.cpp": '"runtime/model/model.h"',
            "capi/lua/bad.cpp": '"capi/src/model.cpp"',
            "capi/examples/bad.c": '"backends/backend.h"',
            "capi/include/okapi/bad.h": '"runtime/model/model.h"',
            "capi/include/okapi/plugin/bad.h": "<okapi/model.h>",
            "runtime/model/looks_at_tests.cpp": '"tests/model/model_test.cpp"',
            "somewhere/new.cpp": '"runtime/base/error.h"',
        }
        for path, name in reversed_arrows.items():
            with self.subTest(path=path):
                found = self.problems({path: f"// one\n#include {name}\n"})
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{path}:2: "), found)

    def test_a_library_outside_its_folder_is_found(self):
        for path, name in {
            "runtime/model/bad.cpp": "<dnnl.hpp>",
            "runtime/model/bad2.cpp": "<oneapi/dnnl/dnnl.hpp>",
            "backends/cpu/bad.cpp": "<cuda_runtime.h>",
            "runtime/model/bad3.cpp": "<yaml-cpp/yaml.h>",
            "capi/src/bad.cpp": "<sentencepiece_processor.h>",
            "runtime/evaluation/bad.cpp": "<sqlite3.h>",
            "runtime/model/bad4.cpp": "<gelf.h>",
            "capi/src/bad2.cpp": "<lua.hpp>",
            "capi/src/bad3.cpp": "<CLI/CLI.hpp>",
            "capi/src/bad4.cpp": "<nettle/sha2.h>",
        }.items():
            with self.subTest(path=path):
                found = self.problems({path: f"#include {name}\n"})
                self.assertEqual(len(found), 1, found)
                self.assertIn("is seen only in", found[0])

    def test_an_include_names_a_file_from_the_root(self):
        self.assertEqual(len(self.problems({"capi/cli/a.cpp": '#include "../src/model.cpp"\n'})), 1)
        self.assertEqual(len(self.problems({"runtime/model/a.cpp": '#include "runtime/gone.h"\n'})), 1)
        self.assertEqual(len(self.problems({"capi/src/a.cpp": '#include "okapi/model.h"\n'})), 1)


class TreeTest(unittest.TestCase):
    def problems(self, files):
        with tree(files) as root:
            return check_tree.check(root)

    def test_a_folder_without_readme_is_found(self):
        self.assertEqual(self.problems({"runtime/README.md": "", "runtime/base/a.h": ""}),
                         ["runtime/base/README.md is missing"])
        self.assertEqual(self.problems({"runtime/base/README.md": ""}), ["runtime/README.md is missing"])

    def test_folders_that_mirror_the_tree_need_none(self):
        self.assertEqual(self.problems({"tests/README.md": "", "tests/base/a_test.cpp": "",
                                        "tests/data/README.md": "", "tests/data/lines/a.md": ""}), [])

    def test_builds_and_results_are_not_read(self):
        self.assertEqual(self.problems({"build/a.cpp": "", "build-x/b.cpp": "", "results/c.md": ""}), [])

    def test_a_path_of_one_machine_is_found(self):
        for text in ('open("' + "/root/" + 'x")', "cd " + "/home/" + "me", "/work/" + "tree"):
            self.assertEqual(len(self.problems({"a.md": text})), 1, text)
        self.assertEqual(self.problems({"a.md": "see https://example.org/home/page and ./work/x"}), [])

    def test_something_left_open_is_found(self):
        self.assertEqual(self.problems({"a.cpp": "int a;\n// TO" + "DO: more\n"}),
                         ["a.cpp:2: something left open"])


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main()
