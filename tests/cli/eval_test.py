"""okapi eval and okapi results, against what transformers generated (tests/data/golden/lines)."""

import csv
import json
import signal
import sqlite3
import subprocess
import time

from command import CommandTest, DATA, MODEL, OKAPI, main

SPECS = {"default": ["plain"], "yarn4": ["yarn:scale=4"],
         "dynamic4": ["dynamic_ntk:scale=4", "--rope-length", "follow"]}
N_PER_LENGTH = 6  # of each length; all of them are in tests/golden
LONGEST = 768

MADE = ["eval", "--model", MODEL, "--task", "lines", "--param", "style=compact"]
GIVEN = ["eval", "--model", MODEL, "--task", "lines", "--prompts"]


def read_golden(name):
    with open(f"{DATA}/golden/lines/{name}", encoding="utf-8") as file:
        return json.load(file)


class EvalTest(CommandTest):
    def test_deterministic_answers_do_not_depend_on_the_batch(self):
        def samples(*options):
            report = self.json_of(*MADE, "--length", 200, "--samples", 5, "--deterministic", "--json", *options)
            self.assertTrue(report["run"]["identity"]["deterministic"])
            return [sample["output_ids"] for sample in report["samples"]]
        self.assertEqual(samples("--batch", 1), samples("--batch", 4))

    def test_given_prompts_get_the_tokens_of_transformers(self):
        prompts, answers = read_golden("prompts.json"), read_golden("answers.base.json")
        chosen = []
        for length in sorted({prompt["length"] for prompt in prompts if prompt["length"] <= LONGEST}):
            chosen += [i for i, prompt in enumerate(prompts) if prompt["length"] == length][:N_PER_LENGTH]
        given = self.path("prompts.json", json.dumps([prompts[i] for i in chosen]))
        for name, spec in SPECS.items():
            report = self.json_of("eval", "--model", MODEL, "--task", "lines", "--prompts", given, "--json",
                                  "--rope", *spec)
            rows = [answers[name]["rows"][i] for i in chosen]
            for i, (sample, row) in enumerate(zip(report["samples"], rows, strict=True)):
                if row["min_gap"] <= 1e-3:
                    continue  # another order of additions may choose another token
                self.assertEqual(sample["output_ids"], row["output_ids"], f"{name}, prompt {i}")
                for key in ("output", "correct", "parsed"):
                    self.assertEqual(sample[key], row[key], f"{name}, prompt {i}, {key}")
            self.assertAlmostEqual(report["accuracy"], sum(row["correct"] for row in rows) / len(rows), places=12)

    def test_the_table_has_wilsons_interval(self):
        text = self.succeeds(*MADE, "--length", 256, "--samples", 4)
        rows = {" ".join(line.split()[:-4]): line.split()[-4:] for line in text.splitlines()}
        # All four are right; Wilson's lower end is n / (n + 1.96^2).
        self.assertEqual(rows["all"], ["4", "1.000", f"{4 / (4 + 1.959964 ** 2):.3f}", "1.000"])
        self.assertEqual(rows["length 256"], rows["all"])

    def test_a_seed_makes_the_prompts(self):
        def hashes(seed):
            report = self.json_of(*MADE, "--length", 128, "--samples", 2, "--seed", seed, "--json")
            return [sample["prompt_sha256"] for sample in report["samples"]]
        self.assertEqual(hashes(5), hashes(5))
        self.assertNotEqual(hashes(5), hashes(6))

    def test_results_are_kept_shown_and_exported(self):
        database = self.path("lines.db")
        evaluation = [*MADE, "--length", 128, "--samples", 3, "--results", database, "--json"]
        first, again = self.json_of(*evaluation), self.json_of(*evaluation)
        self.assertEqual([s["seconds"] for s in first["samples"]], [s["seconds"] for s in again["samples"]])
        runs = self.json_of("results", "show", database, "--json")
        self.assertEqual([run["n_done"] for run in runs], [3])
        shown = self.succeeds("results", "show", database)
        self.assertIn("3 of 3 samples", shown)
        self.assertNotIn("?", shown)

        csv_file, json_file = self.path("lines.csv"), self.path("lines.json")
        self.succeeds("results", "export", database, "--csv", csv_file, "--json", json_file)
        with open(csv_file, encoding="utf-8", newline="") as file:
            self.assertEqual(len(list(csv.DictReader(file))), 3)
        with open(json_file, encoding="utf-8") as file:
            self.assertEqual(len(json.load(file)[0]["samples"]), 3)

    def test_an_interrupted_run_keeps_its_samples_and_exits_with_130(self):
        database = self.path("lines.db")
        command = [OKAPI, *MADE, "--length", "256", "--samples", "5000", "--results", database, "--batch", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                self.wait_for_a_sample(database, process)
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=60)
            finally:
                process.kill()
        self.assertEqual(process.returncode, 130, stderr)
        self.assertIn("okapi: interrupted after", stderr)
        kept = self.json_of("results", "show", database, "--json")[0]["n_done"]
        self.assertGreater(kept, 0)
        self.assertLess(kept, 5000)

    def wait_for_a_sample(self, database, process):
        for _ in range(600):
            self.assertIsNone(process.poll(), "it ended by itself")
            try:
                with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
                    if connection.execute("SELECT count(*) FROM samples").fetchone()[0] > 0:
                        return
            except sqlite3.OperationalError:
                pass  # not there yet, or just being written
            time.sleep(0.1)
        self.fail("no sample in a minute")

    def test_mistakes_are_named(self):
        self.fails(2, "did you mean 'n_samples'", *MADE, "--param", "n_sample=3")
        self.fails(2, "wanted an integer, found 'x'", *MADE, "--param", "length=x")
        self.fails(2, "wanted key=value", *MADE, "--param", "length")
        self.fails(2, "given twice", *MADE, "--length", "5", "--param", "length=6")
        self.fails(2, "--length", *MADE, "--length", "5", "--prompts", "x.json")
        self.fails(1, "nosuch", "eval", "--model", MODEL, "--task", "nosuch")
        self.fails(1, "none.json", *MADE, "--prompts", self.path("none.json"))
        self.fails(1, "", *MADE, "--prompts", self.path("bad.json", "[{]"))
        self.fails(1, "nosuch", *MADE, "--length", "128", "--rope", "nosuch")
        self.fails(1, "tiny-gqa: the model has no tokenizer.model",
                   "eval", "--model", DATA + "/golden/tiny-gqa", "--task", "lines")
        self.fails(1, "none.db", "results", "show", self.path("none.db"))
        self.fails(1, "bad.db", "results", "show", self.path("bad.db", "no database"))
        self.fails(2, "--csv", "results", "export", self.path("none.db"))

    def test_a_wrong_prompt_is_named_by_file_and_number(self):
        good = {"prompt": "What is the REGISTER_CONTENT in line a-b? <", "expected": 3}
        for field, value in [("expected", "x"), ("expected", -1), ("expected", 0.5), ("expected", None), ("prompt", 7),
                             ("style", "x")]:
            prompts = self.path("wrong.json", json.dumps([good, good | {field: value}]))
            done = self.fails(1, prompts + ": prompts_json[1]: ", *GIVEN, prompts)
            self.assertIn(field + ": ", done.stderr)
        self.fails(1, "empty.json: prompts_json: wanted at least one prompt",
                   *GIVEN, self.path("empty.json", "[]"))
        self.fails(1, "cut.json: prompts_json is not JSON", *GIVEN, self.path("cut.json", "[{"))


if __name__ == "__main__":
    main()
