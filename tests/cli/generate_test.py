"""okapi generate."""

from command import CommandTest, DATA, MODEL, main

PROMPT = ("line keen-bucket: REGISTER_CONTENT is <33185>\nline rough-pillow: REGISTER_CONTENT is <13724>\n"
          "What is the REGISTER_CONTENT in line keen-bucket? <")


class GenerateTest(CommandTest):
    def test_the_model_answers(self):
        self.assertEqual(self.succeeds("generate", MODEL, "-p", PROMPT, "--stop", ">"), "33185>\n")

    def test_the_prompt_may_come_from_standard_input(self):
        self.assertEqual(self.succeeds("generate", MODEL, "--stop", ">", stdin=PROMPT), "33185>\n")

    def test_json_says_what_was_generated_and_why_it_stopped(self):
        answer = self.json_of("generate", MODEL, "-p", PROMPT, "--stop", ">", "--json")
        self.assertEqual((answer["output"], answer["stop"]), ("33185>", "text"))
        short = self.json_of("generate", MODEL, "-p", PROMPT, "--max-tokens", 2, "--json")
        self.assertEqual((len(short["output_ids"]), short["stop"]), (2, "length"))
        self.assertEqual(short["output_ids"], answer["output_ids"][:2])

    def test_a_seed_repeats_its_sample(self):
        def sample(seed):
            return self.json_of("generate", MODEL, "-p", "The lion", "--temperature", 1.5, "--seed", seed,
                                "--max-tokens", 24, "--top-k", 100, "--top-p", 0.95, "--json")["output_ids"]
        self.assertEqual(sample(3), sample(3))
        self.assertNotEqual(sample(3), sample(4))

    def test_a_scheme_changes_the_answer(self):
        plain = self.json_of("generate", MODEL, "-p", PROMPT, "--json", "--max-tokens", 8)
        linear = self.json_of("generate", MODEL, "-p", PROMPT, "--json", "--max-tokens", 8, "--rope", "linear:scale=4")
        self.assertNotEqual(plain["output_ids"], linear["output_ids"])
        self.assertIn("linear:scale=4", linear["session"]["rope"]["spec"])

    def test_mistakes_are_named(self):
        self.fails(1, "nosuch", "generate", MODEL, "-p", "x", "--rope", "nosuch:scale=4")
        self.fails(1, "scael", "generate", MODEL, "-p", "x", "--rope", "yarn:scael=4")
        self.fails(2, "--rope-length", "generate", MODEL, "-p", "x", "--rope-length", "long")
        self.fails(1, "tokenizer", "generate", DATA + "/golden/tiny-gqa", "-p", "x")


if __name__ == "__main__":
    main()
