"""What holds of every subcommand: help, exit codes, errors in one line."""

import os

from command import CommandTest, MODEL, main, run

SUBCOMMANDS = ["run", "repl", "generate", "logits", "eval", "results", "rope", "plugins", "info", "adapter", "delta",
               "data", "train", "bench"]
NESTED = [["results", "show"], ["results", "training"], ["results", "export"], ["rope", "list"], ["rope", "explain"],
          ["data", "prepare"], ["data", "info"], ["adapter", "info"], ["adapter", "merge"], ["delta", "make"],
          ["delta", "check"], ["delta", "apply"], ["plugins", "list"], ["plugins", "info"], ["plugins", "check"]]


class UsageTest(CommandTest):
    def test_help_lists_every_subcommand(self):
        text = self.succeeds("--help")
        for name in SUBCOMMANDS:
            self.assertIn(name, text)
        self.assertIn("130", text)  # the exit codes

    def test_every_subcommand_has_help_with_an_example(self):
        for name in SUBCOMMANDS:
            self.assertIn("okapi " + name, self.succeeds(name, "--help"))
        for words in NESTED:
            self.assertIn(words[-1], self.succeeds(*words, "--help"))

    def test_version(self):
        self.assertRegex(self.succeeds("--version"), r"^okapi \d+\.\d+\.\d+\n$")

    def test_wrong_arguments_exit_with_2(self):
        self.fails(2, "subcommand")
        self.fails(2, "unknown subcommand 'evla' (did you mean 'eval'?)", "evla")
        self.fails(2, "unknown subcommand 'explains' (did you mean 'explain'?)", "rope", "explains")
        for name in SUBCOMMANDS:
            self.fails(2, "--nosuch", name, "--nosuch")
        self.fails(2, "--model", "eval", "--task", "lines")
        self.fails(2, "--temperature", "generate", MODEL, "--temperature", "warm")

    def test_a_number_with_a_unit_is_refused_in_words(self):
        arguments = ["eval", "--model", MODEL, "--task", "lines"]
        for value in ["1k", "0", "-5", "nan", "1.5", "1e3", "99999999999999999999"]:
            self.fails(2, f"--length: wanted a whole number above 0, found '{value}'", *arguments, "--length", value)
        for command in [arguments, ["generate", MODEL], ["bench"],
                        ["data", "prepare", "--dataset", "lines", "--tokenizer", MODEL, "--out", "x"]]:
            self.fails(2, "--seed: wanted a whole number of at least 0, found '-1'", *command, "--seed", "-1")
        self.succeeds("generate", MODEL, "-p", "x", "--max-tokens", 1, "--seed", 2**64 - 1)
        self.assertIn(" 0.5 ", self.succeeds("rope", "explain", "plain", "--head-dim", 4, "--trained-length", 9,
                                             "--base", "4.0"))  # 4^(-2/4)
        self.fails(2, "--samples: given twice", *arguments, "--samples", 1, "--samples", 1)
        self.fails(2, "--temperature: wanted a number of at least 0, found 'nan'", "generate", MODEL,
                   "--temperature", "nan")

    def test_threads_soon_stop_spinning_unless_the_environment_says_how_they_wait(self):
        def spins(**chosen):
            environment = {name: value for name, value in os.environ.items() if "OMP_" not in name}
            done = run("generate", MODEL, "-p", "x", "--max-tokens", 1,
                       environment={**environment, "OMP_DISPLAY_ENV": "verbose", **chosen})
            self.assertEqual(done.returncode, 0, done.stderr)
            return [line.strip() for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]

        self.assertEqual(spins(), ["GOMP_SPINCOUNT = '1000'"])
        self.assertEqual(spins(GOMP_SPINCOUNT="77"), ["GOMP_SPINCOUNT = '77'"])
        self.assertNotEqual(spins(OMP_WAIT_POLICY="active"), ["GOMP_SPINCOUNT = '1000'"])

    def test_an_empty_value_is_not_one_that_was_not_given(self):
        arguments = ["eval", "--model", MODEL, "--task", "lines"]
        self.fails(2, "--rope: wanted a value, found an empty one", *arguments, "--rope", "")
        self.fails(2, "--rope: wanted a value, found an empty one", *arguments, "--rope=")
        self.fails(2, "--results: wanted a value, found an empty one", *arguments, "--results", "", "--json")
        self.fails(2, "an argument is empty, after generate", "generate", "", "-p", "x")

    def test_failures_exit_with_1(self):
        self.fails(1, "no/such/model", "info", "no/such/model")
        self.fails(1, "no/such/model", "generate", "no/such/model", "-p", "x")
        self.fails(1, "no/such.lua", "run", "no/such.lua")
        self.fails(1, "abacus", "info", MODEL, "--backend", "abacus")

    def test_nothing_but_results_goes_to_standard_output(self):
        self.assertEqual(run("info", "no/such/model").stdout, "")

    def test_info_says_the_models_shape(self):
        about = self.json_of("info", MODEL, "--json")
        self.assertEqual((about["n_layers"], about["d_model"], about["vocab_size"]), (6, 256, 1024))
        self.assertIn("n_layers", self.succeeds("info", MODEL))

    def test_a_missing_configuration_is_named(self):
        self.fails(1, "other.json", "info", MODEL, "--config", "other.json")


if __name__ == "__main__":
    main()
