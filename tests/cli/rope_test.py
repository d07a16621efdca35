"""okapi rope and okapi plugins."""

import json
import math

from command import CommandTest, MODEL, main, run


class RopeTest(CommandTest):
    def test_list_has_the_schemes_that_come_with_okapi(self):
        listed = {plugin["name"]: plugin for plugin in self.json_of("rope", "list", "--json")["plugins"]}
        for name in ["plain", "linear", "power", "truncated", "randomized", "xpos", "ntk", "dynamic_ntk", "yarn",
                     "longrope", "llama3"]:
            self.assertIn(name, listed)
            self.assertEqual(listed[name]["kind"], "rope")
            self.assertIn(name, self.succeeds("rope", "list"))

    def test_explain_gives_the_frequencies_of_the_formula(self):
        about = self.json_of("rope", "explain", "linear:scale=4", "--head-dim", 8, "--trained-length", 2048,
                             "--length", 8192, "--json")
        # base^(-2i/d) / scale, base 10000
        for pair, wanted in zip(about["pairs"], [0.25, 0.025, 0.0025, 0.00025], strict=True):
            self.assertAlmostEqual(pair["inv_freq"], wanted, places=15)
            self.assertAlmostEqual(pair["wavelength"], 2 * math.pi / wanted, delta=1e-9 / wanted)
            self.assertAlmostEqual(pair["turns_target"], 8192 * wanted / (2 * math.pi), delta=1e-9)
        parameters = about["schemes"][0]["parameters"]
        self.assertEqual((parameters["scale"]["value"], parameters["scale"]["source"]), (4, "given"))

    def test_explain_draws_every_pair_and_counts_their_fates(self):
        text = self.succeeds("rope", "explain", "yarn:scale=4", "--model", MODEL, "--length", 2048)
        self.assertIn("turns in 512", text)
        self.assertIn("turns in 2048", text)
        self.assertIn("32 pairs: ", text)
        self.assertIn("kept", text)
        self.assertIn("stretched", text)
        self.assertIn("beta_fast", text)
        self.assertIn("q.k with distance", text)
        at_trained = self.succeeds("rope", "explain", "yarn:scale=4", "--model", MODEL)
        self.assertEqual(at_trained.count("turns in 512"), 1)
        self.assertRegex(at_trained, r"(?m)^31 +\S+ +\S+ +\S+ +0\.2500 +stretched ")

    def test_stopped_pairs_have_no_wavelength(self):
        about = self.json_of("rope", "explain", "truncated:length=32", "--head-dim", 8, "--trained-length", 2048, "--json")
        # giraffe.md 1.15, trunc T=32: 1, 0.0122718463030851, 0, 0
        self.assertAlmostEqual(about["pairs"][1]["inv_freq"], 0.0122718463030851, places=15)
        self.assertEqual([pair["label"] for pair in about["pairs"][2:]], ["stopped", "stopped"])
        self.assertIsNone(about["pairs"][3]["wavelength"])

    def test_mistakes_are_named(self):
        self.fails(1, "yarm", "rope", "explain", "yarm", "--model", MODEL)
        self.fails(1, "scale", "rope", "explain", "linear:scale=0", "--model", MODEL)
        self.fails(2, "--model", "rope", "explain", "plain")
        self.fails(2, "--head-dim", "rope", "explain", "plain", "--model", MODEL, "--head-dim", "8")


class PluginsTest(CommandTest):
    def test_list_can_be_narrowed(self):
        kinds = {plugin["kind"] for plugin in self.json_of("plugins", "list", "--json")["plugins"]}
        self.assertEqual(kinds, {"rope", "dataset", "task"})
        tasks = self.json_of("plugins", "list", "--kind", "task", "--json")["plugins"]
        self.assertEqual({plugin["kind"] for plugin in tasks}, {"task"})

    def test_info_by_name_and_by_file_say_the_same(self):
        by_name = self.json_of("plugins", "info", "yarn", "--json")
        self.assertEqual(self.json_of("plugins", "info", by_name["file"], "--json"), by_name)
        text = self.succeeds("plugins", "info", "yarn")
        for parameter in by_name["parameters"]:
            self.assertIn(parameter["name"], text)

    def test_a_plugin_of_ours_keeps_its_contract(self):
        file = self.json_of("plugins", "info", "yarn", "--json")["file"]
        self.assertIn("keeps its contract", self.succeeds("plugins", "check", file))
        self.assertTrue(self.json_of("plugins", "check", file, "--json")["passed"])

    def test_what_is_no_plugin_is_refused(self):
        text = self.path("text.so", "not a library")
        self.fails(1, "text.so", "plugins", "info", text)
        checked = run("plugins", "check", text, "--json")
        self.assertEqual((checked.returncode, json.loads(checked.stdout)["passed"]), (1, False))
        self.assertIn("FAILED", run("plugins", "check", text).stdout)
        self.fails(1, "did you mean 'yarn'", "plugins", "info", "yarm")

    def test_a_file_that_cannot_be_used_is_listed_with_its_reason(self):
        self.path("broken.so", "not a library")
        listed = self.json_of("plugins", "list", "--plugin-path", self.folder, "--json")
        self.assertIn("broken.so", listed["refused"][0]["file"])
        self.assertTrue(listed["refused"][0]["reason"])


if __name__ == "__main__":
    main()
