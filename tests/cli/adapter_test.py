"""okapi adapter, and --adapter beside generate, logits and eval, against what peft computed (tests/data/training)."""

import json
import os
import shutil

from command import CommandTest, DATA, MODEL, main, read_safetensors, relative_error

BASE = DATA + "/golden/tiny-gqa"
LORA = DATA + "/training/lora-final"
TOLERANCE = 1e-4  # norm of the difference over the norm: f32 sums in another order
VOCAB = 512

TRAINING = """
model: {model}
steps: 2
lora: {{rank: 4, targets: [q_proj, v_proj, down_proj]}}
optimizer: {{learning_rate: 0.1}}
batch: {{sequences: 2}}
data:
  dataset: lines
  params: {{training: true, style: compact, length: 128}}
  length: 128
"""


class AdapterTest(CommandTest):
    def logits(self, model, *options):
        ids = read_safetensors(BASE + "/expected.safetensors")[0]["input_ids"][1][:48]
        out = self.path("out.safetensors")
        self.succeeds("logits", model, "--ids", self.path("ids.txt", " ".join(map(str, ids))), "--out", out, *options)
        tensors, self.metadata = read_safetensors(out)
        return tensors["logits"][1]

    def test_beside_the_model_or_merged_it_gives_pefts_logits(self):
        wanted = read_safetensors(DATA + "/training/lora.safetensors")[0]["logits.final"][1][:48 * VOCAB]
        self.assertLess(relative_error(self.logits(BASE, "--adapter", LORA), wanted), TOLERANCE)
        self.assertEqual(json.loads(self.metadata["session"])["adapter"]["path"], LORA)

        merged = self.path("merged")
        self.assertEqual(self.succeeds("adapter", "merge", "--model", BASE, "--adapter", LORA, "--out", merged), "")
        self.assertLess(relative_error(self.logits(merged), wanted), TOLERANCE)
        self.assertGreater(relative_error(self.logits(BASE), wanted), 10 * TOLERANCE)

    def test_info_says_what_it_is(self):
        about = self.json_of("adapter", "info", LORA, "--model", BASE, "--json")
        self.assertEqual((about["rank"], about["alpha"], about["scale"]), (4, 8, 2))
        self.assertEqual(about["targets"], ["q_proj", "k_proj", "v_proj", "o_proj"])
        self.assertEqual(about["bytes"], 4 * about["n_parameters"])
        text = self.succeeds("adapter", "info", LORA, "--model", BASE)
        self.assertIn(about["sha256"], text)
        self.fails(1, "okapi adapter info " + LORA + " --model BASE", "info", LORA)
        self.fails(1, LORA + ": is an adapter, no model", "eval", "--model", LORA, "--task", "lines")

    def test_a_trained_adapter_serves_generate_and_eval_as_its_merged_model_does(self):
        lora, merged = self.path("lora"), self.path("merged")
        self.succeeds("train", self.path("train.yaml", TRAINING.format(model=MODEL)), "--export", lora)
        self.succeeds("adapter", "merge", "--model", MODEL, "--adapter", lora, "--out", merged, "--dtype", "f32")
        # In f32, where attached and merged weights differ by rounding alone.
        beside, instead = (MODEL, "--adapter", lora, "--dtype", "f32"), (merged, "--dtype", "f32")

        def generated(model, *options):
            return self.json_of("generate", model, *options, "-p", "line a-b: REGISTER_CONTENT is <", "--max-tokens",
                                12, "--ignore-eos", "--json")
        with_it = generated(*beside)
        self.assertEqual(with_it["output_ids"], generated(*instead)["output_ids"])
        self.assertNotEqual(with_it["output_ids"], generated(MODEL, "--dtype", "f32")["output_ids"])
        self.assertEqual(with_it["session"]["adapter"]["path"], lora)

        database = self.path("lines.db")
        task = ("--task", "lines", "--param", "style=compact", "--length", 128, "--samples", 4)

        def evaluated(model, *options):
            return self.json_of("eval", "--model", model, *options, *task, "--results", database, "--json")
        with_it = evaluated(*beside)
        without = evaluated(MODEL, "--dtype", "f32")
        self.assertEqual([s["output_ids"] for s in with_it["samples"]],
                         [s["output_ids"] for s in evaluated(*instead)["samples"]])
        self.assertNotEqual([s["output_ids"] for s in with_it["samples"]],
                            [s["output_ids"] for s in without["samples"]])

        # Each is a run of its own, which names its adapter; the same again is not computed again.
        again = evaluated(*beside)
        self.assertEqual([s["seconds"] for s in again["samples"]], [s["seconds"] for s in with_it["samples"]])
        runs = self.json_of("results", "show", database, "--json")
        self.assertEqual(len(runs), 3)
        self.assertEqual([run["info"]["adapter"]["path"] for run in runs if "adapter" in run["info"]], [lora])
        self.assertIn("adapter " + lora, self.succeeds("results", "show", database))

    def test_mistakes_are_named(self):
        out = self.path("merged")
        merge = ("adapter", "merge", "--model", BASE, "--adapter")
        self.fails(1, "no/such/lora", *merge, "no/such/lora", "--out", out)
        self.fails(1, "wanted shape", "adapter", "info", LORA, "--model", MODEL)
        self.fails(1, "folder of its own", *merge, LORA, "--out", BASE)
        self.fails(1, "no/such/lora", "generate", MODEL, "-p", "x", "--adapter", "no/such/lora")
        self.fails(2, "--dtype", *merge, LORA, "--out", out, "--dtype", "f8")
        self.fails(2, "--out", *merge, LORA)
        self.fails(2, "--model", "adapter", "info", LORA)

        dora = self.path("dora")
        shutil.copytree(LORA, dora)
        config = os.path.join(dora, "adapter_config.json")
        with open(config, encoding="utf-8") as file:
            settings = json.load(file)
        for key, value in (("use_dora", True), ("init_lora_weights", "pissa"), ("exclude_modules", ["q_proj"])):
            with open(config, "w", encoding="utf-8") as file:
                json.dump({**settings, key: value}, file)
            self.fails(1, key, *merge, dora, "--out", out)


if __name__ == "__main__":
    main()
