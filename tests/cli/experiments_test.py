"""The experiments of scripts/experiments, cut short: they run to their tables, and go on where they were stopped."""

import csv
import os
import signal
import sqlite3
import subprocess

from command import CommandTest, MODEL, OKAPI, main

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "experiments")
STEPS = 8  # of each of its two runs


class ExtendTest(CommandTest):
    def arguments(self):
        return ["run", "--threads", 1, os.path.join(SCRIPTS, "extend.lua"), MODEL + "/",
                "--target", 768, "--steps", f"{STEPS},{STEPS}", "--tokens", 300, "--samples", 2, "--lengths", 128,
                "--out", self.path("results")]

    def interrupt_after_a_step(self):
        command = [OKAPI, *map(str, self.arguments())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                self.assertRegex(process.stdout.readline(), rf"^closer, step 1 of {STEPS}: loss \d")
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=60)
            finally:
                process.kill()
        self.assertEqual((process.returncode, stderr), (130, "okapi: interrupted\n"))

    def curve(self):
        with sqlite3.connect(self.path("results/extend.db")) as database:
            return [row[0] for row in database.execute("SELECT step FROM training_steps ORDER BY run_id, step")]

    def test_it_goes_on_where_it_was_stopped(self):
        self.interrupt_after_a_step()
        n_done = len(self.curve())
        self.assertIn(n_done, range(1, STEPS))

        text = self.succeeds(*self.arguments())
        self.assertRegex(text, rf"(?m)^closer: {STEPS - n_done} steps in \d+ s$")
        self.assertRegex(text, rf"(?m)^longer: {STEPS} steps in \d+ s$")
        self.assertEqual(self.curve(), 2 * list(range(1, STEPS + 1)))
        table = text[text.index("Lines retrieved"):]
        self.assertTrue(table.startswith(f"Lines retrieved by {os.path.basename(MODEL)}, trained on"))
        self.assertRegex(table, r"\nbase, plain +1\.00 0\.\d\d-1\.00\n")
        self.assertRegex(table, r"\nbase, linear 1\.5 +0\.\d\d 0\.\d\d-\d\.\d\d\ntuned, linear 1\.5 +\d")
        with open(self.path("results/extend.csv"), encoding="utf-8", newline="") as file:
            self.assertEqual(len(list(csv.DictReader(file))), 3 * 2)

        self.assertEqual(self.succeeds(*self.arguments()), table)


class RetrievalTest(CommandTest):
    def arguments(self, schemes):
        return ["run", os.path.join(SCRIPTS, "rope_retrieval.lua"), MODEL, "--samples", 2, "--lengths", 128,
                "--schemes", schemes, "--out", self.path("results")]

    def test_it_asks_the_schemes_that_it_is_given(self):
        text = self.succeeds(*self.arguments("plain;linear:scale=1 | truncated:length=9999; "))
        self.assertEqual([line.split("  ")[0] for line in text.splitlines()[2:-1]],
                         ["plain", "linear:scale=1 | truncated:length=9999"])

    def test_help_is_the_head_of_its_file(self):
        text = self.succeeds("run", os.path.join(SCRIPTS, "rope_retrieval.lua"), "--help")
        self.assertTrue(text.startswith("Question: "), text)
        for option in ["--samples", "--lengths", "--schemes", "--out"]:
            self.assertIn(option, text)
        self.assertNotIn("local", text)

    def test_a_scheme_that_is_none_is_told_before_the_first_question(self):
        self.assertEqual(self.fails(1, "did you mean yarn?", *self.arguments("plain; yran")).stdout, "")
        self.fails(1, "found none", *self.arguments(" ; "))


if __name__ == "__main__":
    main()
