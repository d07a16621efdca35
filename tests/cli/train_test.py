"""okapi train: a YAML configuration, planned, run, interrupted by its end, resumed, exported."""

import json
import os
import textwrap

from command import CommandTest, MODEL, main

CONFIG = """
model: {model}
steps: {steps}
optimizer: {{learning_rate: 1e-4}}
batch: {{sequences: 2}}
checkpoint: {{folder: {folder}, every: 2}}
data:
  dataset: lines
  params: {{training: true, style: compact, length: 128}}
  length: 128
"""


class TrainTest(CommandTest):
    def config(self, name="train.yaml", steps=3, extra=""):
        return self.path(name, CONFIG.format(model=MODEL, steps=steps, folder=self.path("run")) + extra)

    def test_a_run_saves_exports_and_goes_on(self):
        tuned = self.path("tuned")
        text = self.succeeds("train", self.config(), "--export", tuned)
        self.assertIn("step 2: saved", text)
        self.assertIn("step 3: loss", text)
        self.assertTrue(text.endswith(f"exported to {tuned}\n"), text)
        self.assertTrue(os.path.exists(os.path.join(tuned, "model.safetensors")))
        self.succeeds("info", tuned)
        self.fails(1, "run", "train", self.config())  # it holds checkpoints
        self.assertEqual(self.succeeds("train", self.config(), "--resume"), "all steps were done before\n")
        done = self.json_of("train", self.config(), "--resume", "--json")
        self.assertNotIn("step", done)  # nothing was left to do

    def test_the_curves_in_a_results_file_are_shown(self):
        database = self.path("curves.db")
        config = self.config(steps=30, extra=f"  holdout: 2\nevaluation: {{every: 20}}\nresults: {database}\n")
        self.succeeds("train", config, "--set", "checkpoint={}")
        shown = self.succeeds("results", "show", database)
        self.assertIn(f"training of {MODEL}, rope plain:base=1100, 30 steps", shown)
        self.assertNotIn("no runs", shown)
        rows = [line.split() for line in self.succeeds("results", "training", database).splitlines()[2:-1]]
        (run,) = self.json_of("results", "training", database, "--json")
        losses = {step["step"]: step["loss"] for step in run["steps"]}
        self.assertEqual(sorted(losses), list(range(1, 31)))
        # Every second step, and where something was evaluated.
        self.assertEqual([int(row[0]) for row in rows], list(range(2, 31, 2)))
        for row in rows:
            self.assertAlmostEqual(float(row[1]), losses[int(row[0])], delta=6e-5)
        self.assertEqual([int(row[0]) for row in rows if len(row) == 5], [20, 30])

    def test_a_plan_says_what_it_takes(self):
        plan = self.json_of("train", self.config(), "--plan", "--json")
        self.assertTrue(plan["fits"])
        self.assertFalse(os.path.exists(self.path("run")))
        self.assertNotEqual(self.succeeds("train", self.config(), "--plan"), "")

    def test_the_configuration_in_the_help_is_one(self):
        text = self.succeeds("train", "--help").partition("extend.yaml:\n\n")[2].partition("\n\n")[0]
        config = self.path("extend.yaml", textwrap.dedent(text).replace("models/savanna-5m", MODEL))
        plan = self.json_of("train", config, "--plan", "--json")
        self.assertEqual(plan["n_steps"], 150)

    def test_values_are_set_over_the_file(self):
        plan = self.json_of("train", self.config(), "--plan", "--json", "--set", "steps=7",
                            "--set", "lora={rank: 2, targets: [q_proj]}", "--set", "batch.micro=1")
        self.assertEqual(plan["n_steps"], 7)
        self.assertEqual(plan["n_trained"], 6 * 2 * (256 + 256))  # two matrices of rank 2 in each of 6 layers
        self.assertEqual(plan["micro_tokens"], 127)  # the last token of a window is only a target

    def test_wrong_settings_are_named(self):
        config = self.config()
        for setting, code, text in [
                ("optimizer.learning_rat=1", 1, "optimizer.learning_rat"),
                ("data.params.lenght=1", 1, "lenght"),
                ("steps.a=1", 2, "--set steps.a: steps has no keys, it is 3"),
                ("steps=[1", 1, "--set steps:1: "),
                ("steps=", 1, "--set steps: wanted one document, found 0"),
                ("steps", 2, "wanted key.path=value, found 'steps'"),
                ("batch..micro=1", 2, "--set batch..micro: a key is missing")]:
            self.fails(code, text, "train", config, "--set", setting)
        self.fails(2, "--set steps: given twice", "train", config, "--set", "steps=1", "--set", "steps=2")
        self.fails(2, "--set batch: would undo --set batch.micro", "train", config, "--set", "batch.micro=1",
                   "--set", "batch={sequences: 2}")
        self.assertFalse(os.path.exists(self.path("run")))

    def test_mistakes_are_named(self):
        self.fails(1, "optimiser", "train", self.config(extra="optimiser: {}\n"))
        self.fails(1, "twice", "train", self.config(extra="steps: 4\n"))
        broken = self.path("broken.yaml", "model: [1, 2\nsteps: 3\n")
        self.fails(1, "broken.yaml:", "train", broken)
        self.fails(1, "no/such.yaml", "train", "no/such.yaml")

    def test_an_export_that_would_fail_is_refused_before_the_run(self):
        self.fails(1, "merged: there is no adapter", "train", self.config(), "--export", self.path("out"), "--merged")
        config = self.config()
        self.fails(1, "cannot create the file", "train", config, "--export", config + "/within")
        self.assertFalse([name for name in os.listdir(self.path("run")) if name.startswith("step-")])

    def test_evaluations_of_nothing_are_refused(self):
        self.fails(1, "train.yaml:11: evaluation.every: there are no held-out windows", "train",
                   self.config(extra="evaluation: {every: 1}\n"))

    def test_mistakes_are_placed_in_the_file(self):
        for extra, place in [("rope:\n  train: 3\n", "train.yaml:12: rope.train: "),
                             ("lora: {targets: [q_proj, x_proj]}\n", "train.yaml:11: lora.targets: "),
                             ("lora:\n  rank: 0\n  alpha: 1\n", "train.yaml:12: lora.rank: "),
                             ("nosuch: 1\n", "train.yaml:11: nosuch: ")]:
            self.fails(1, place, "train", self.config(extra=extra))
            self.fails(1, place, "train", self.config(extra=extra), "--plan")
        self.fails(1, "train.yaml: no rope plugin named nosuch", "train", self.config(extra="rope: {train: nosuch}\n"))
        self.fails(1, "train.yaml:11: data.lenght: ", "train", self.config(extra="  lenght: 1\n"))
        # A key that is not there stands where what should have it does.
        without_rate = "steps: 1\noptimizer: {beta1: 0.9}\nbatch: {sequences: 1}\nmodel: " + MODEL
        self.fails(1, "t.yaml:2: optimizer.learning_rate: ", "train", self.path("t.yaml", without_rate))
        self.fails(1, "--set: optimizer.beta1: ", "train", self.config(), "--set", "optimizer.beta1=x")
        self.fails(1, "--set: optimizer.beta1: ", "train", self.config(),
                   "--set", "optimizer={learning_rate: 1, beta1: x}")
        for text in ["- 1\n", "hello\n", "3\n"]:
            self.fails(1, "t.yaml: wanted keys with values", "train", self.path("t.yaml", text))

    def test_aliases_and_tags_do_no_harm(self):
        shared = self.config(extra="rope: {train: &r 'linear:scale=2', eval: *r}\n")
        self.assertTrue(self.json_of("train", shared, "--plan", "--json")["fits"])
        self.fails(1, "train.yaml:11: nested deeper", "train", self.config(extra="rope: &r {train: *r}\n"))
        doubled = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
        self.fails(1, "values, counting each alias", "train", self.config(extra=doubled))
        self.fails(1, "train.yaml:11: the tag ", "train", self.config(extra="seed: !!str 3\n"))


if __name__ == "__main__":
    main()
