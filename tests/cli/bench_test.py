"""okapi bench, briefly: that it measures, and that its numbers fit together."""

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
        self.assertAlmostEqual(decode["fraction"], decode["bytes_per_s"] / ceilings["bandwidth_bytes_per_s"], places=12)
        self.assertEqual(decode["bytes_per_token"], result["weight_bytes"] - info["vocab_size"] * info["d_model"] * 4)
        self.assertEqual([row["depth"] for row in result["depths"]], [0, 100])
        self.assertGreater(result["depths"][1]["cache_bytes"], 0)

    def test_mistakes_are_named(self):
        self.fails(2, "--shape", "bench", "--shape", "nosuch")
        self.fails(2, "--model", "bench", "--shape", "smollm2-135m", "--model", MODEL)
        self.fails(1, "ascend", "bench", "--model", MODEL, "--dtype", "f32", "--tokens", 8, "--rounds", 1,
                   "--depths", 9, 0)


if __name__ == "__main__":
    main()
