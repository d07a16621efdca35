"""okapi bench, briefly: that it measures, and that its numbers fit together."""

import os

from command import CommandTest, MODEL, main


class BenchTest(CommandTest):
    def test_numbers_fit_together(self):
        report = self.json_of("bench", "--model", MODEL, "--dtype", "f32", "--tokens", 64, "--rounds", 1,
                              "--depths", 0, 100, "--threads", 1, "--json")
        result = report["results"][0]
        info = self.json_of("info", MODEL, "--json")
        tokens, width, layers = 64, info["d_model"], info["n_layers"]
        # Embedding and output matrix are not tied, and neither is computed for every token.
        in_layers = info["n_parameters"] - 2 * info["vocab_size"] * info["d_model"]
        flops = 2 * in_layers * tokens + 2 * tokens ** 2 * width * layers
        prefill, decode, ceilings = result["prefill"], result["decode"], result["ceilings"]
        self.assertAlmostEqual(prefill["flops_per_s"] * prefill["seconds"] / flops, 1, places=9)
        self.assertAlmostEqual(prefill["fraction"], prefill["flops_per_s"] / ceilings["matmul_flops_per_s"], places=12)
        in_attention = 2 * tokens ** 2 * width * layers
        least = (flops - in_attention) / ceilings["matmul_flops_per_s"] + in_attention / prefill["attention_flops_per_s"]
        self.assertAlmostEqual(prefill["fraction_of_both"], least / prefill["seconds"], places=9)
        self.assertAlmostEqual(decode["fraction"], decode["bytes_per_s"] / ceilings["bandwidth_bytes_per_s"], places=12)
        self.assertEqual(decode["bytes_per_token"], result["weight_bytes"] - info["vocab_size"] * info["d_model"] * 4)
        self.assertEqual([row["depth"] for row in result["depths"]], [0, 100])
        self.assertGreater(result["depths"][1]["cache_bytes"], 0)

    def test_a_job_counts_what_it_did(self):
        report = self.json_of("bench", "--model", MODEL, "--dtype", "f32", "--tokens", 8, "--rounds", 1, "--depths", 0,
                              "--threads", 1, "--job", 3, "--job-length", 700, "--job-tokens", 5, "--json")
        job = report["results"][0]["job"]
        self.assertEqual(job["n_new_tokens"], 3 * 5)  # whatever they are, the end of the text included
        self.assertLessEqual(job["n_prompt_tokens"], 3 * 700)
        self.assertGreater(job["n_prompt_tokens"], 3 * 600)
        self.assertGreater(job["n_shared_tokens"], 0)  # the preamble
        self.assertAlmostEqual(job["times_faster"], 3 * job["without_cache_seconds_per_prompt"] / job["seconds"])
        self.assertEqual(job["deterministic"]["n_prompts"], 1)
        self.assertGreater(job["deterministic"]["seconds"], 0)
        self.assertIn("job: 3 prompts", self.succeeds(
            "bench", "--shape", "smollm2-135m", "--tokenizer", f"{MODEL}/tokenizer.model", "--dtype", "bf16", "--tokens",
            2, "--rounds", 1, "--depths", 0, "--job", 3, "--job-length", 300, "--job-tokens", 1))

    def test_training_against_the_plan(self):
        config = self.path("train.yaml", f"""
model: {MODEL}
steps: 1000
optimizer: {{learning_rate: 1e-4}}
batch: {{sequences: 2, length: 65}}
checkpoint: {{folder: {self.path("run")}}}
data: {{dataset: lines, params: {{training: true, style: compact, length: 64}}, length: 65}}
""")
        report = self.json_of("bench", "--training", config, "--rounds", 2, "--threads", 1,
                              "--product", 128, 128, 128, "--json")
        training = report["training"]
        info = self.json_of("info", MODEL, "--json")
        # Three products for each weight, and attention three times; embedding rows are only looked up.
        in_products = info["n_parameters"] - info["vocab_size"] * info["d_model"]
        norms = (2 * info["n_layers"] + 1) * info["d_model"]
        flops = 6 * (in_products - norms) + 6 * 65 * info["d_model"] * info["n_layers"]
        self.assertAlmostEqual(training["flops_per_token"] / flops, 1, places=12)
        self.assertAlmostEqual(training["tokens_per_s"] * training["seconds"] / training["n_tokens"], 1, places=9)
        ceiling = training["ceilings"]["matmul_flops_per_s"]
        self.assertAlmostEqual(training["fraction"], flops * training["tokens_per_s"] / ceiling, places=9)
        self.assertGreater(training["peak_bytes"], 16 * info["n_parameters"])  # weight, gradient, two moments
        self.assertFalse(os.path.exists(self.path("run")))
        self.assertIn("peak memory", self.succeeds("bench", "--training", config, "--rounds", 1, "--threads", 1,
                                                   "--product", 128, 128, 128))

    def test_mistakes_are_named(self):
        self.fails(2, "--shape", "bench", "--shape", "nosuch")
        self.fails(2, "--model", "bench", "--shape", "smollm2-135m", "--model", MODEL)
        self.fails(2, "--model", "bench", "--model", MODEL, "--training", "train.yaml")
        self.fails(2, "--seed", "bench", "--seed", 2, "--training", "train.yaml")
        self.fails(2, "--job", "bench", "--job-length", 100)
        self.fails(2, "--model", "bench", "--model", MODEL, "--job", 1, "--tokenizer", "tokenizer.model")
        self.fails(1, "no/such.yaml", "bench", "--training", "no/such.yaml")
        self.fails(1, "ascend", "bench", "--model", MODEL, "--dtype", "f32", "--tokens", 8, "--rounds", 1,
                   "--depths", 9, 0)


if __name__ == "__main__":
    main()
