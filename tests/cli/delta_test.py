"""okapi delta: made, checked, applied, refused."""

import os
import shutil

from command import CommandTest, DATA, MODEL, main, read_safetensors

LORA = DATA + "/training/lora-final"
BASE = DATA + "/golden/tiny-gqa"
EPSILON_F32 = 2 ** -24  # half a unit in the last place, relative


class DeltaTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.tuned, self.delta = self.path("tuned"), self.path("delta")
        self.succeeds("adapter", "merge", "--model", BASE, "--adapter", LORA, "--out", self.tuned)

    def make(self, *options):
        self.assertEqual(self.succeeds("delta", "make", "--base", BASE, "--tuned", self.tuned, "--out", self.delta,
                                       *options), "")

    def test_applied_it_gives_the_tuned_model_back(self):
        restored = self.path("restored")
        self.make("--dtype", "f32")
        self.succeeds("delta", "apply", "--base", BASE, "--delta", self.delta, "--out", restored)
        wanted, _ = read_safetensors(self.tuned + "/model.safetensors")
        found, _ = read_safetensors(restored + "/model.safetensors")
        before, _ = read_safetensors(BASE + "/model.safetensors")
        self.assertEqual(sorted(found), sorted(wanted))
        for name, (shape, values) in wanted.items():
            self.assertEqual(found[name][0], shape)
            for x, y, z in zip(found[name][1], values, before[name][1], strict=True):
                # Difference and sum are each rounded to f32 once.
                self.assertLessEqual(abs(x - y), EPSILON_F32 * (abs(y - z) + abs(y)), name)
        for file in os.listdir(self.tuned):
            if file != "model.safetensors":
                with open(os.path.join(self.tuned, file), "rb") as a, open(os.path.join(restored, file), "rb") as b:
                    self.assertEqual(a.read(), b.read(), file)

    def test_a_check_says_what_it_is(self):
        self.make()
        about = self.json_of("delta", "check", "--base", BASE, "--delta", self.delta, "--json")
        self.assertEqual(about["dtype"], "F16")
        self.assertEqual(about["base_sha256"], self.json_of("info", BASE, "--json")["sha256"])
        self.assertEqual(about["tuned_sha256"], self.json_of("info", self.tuned, "--json")["sha256"])
        self.assertIn(about["base_sha256"], self.succeeds("delta", "check", "--base", BASE, "--delta", self.delta))

    def test_another_base_is_refused_by_name(self):
        self.make()
        wanted = self.json_of("info", BASE, "--json")["sha256"]
        self.fails(1, wanted, "delta", "check", "--base", self.tuned, "--delta", self.delta)
        self.fails(1, wanted, "delta", "apply", "--base", MODEL, "--delta", self.delta, "--out", self.path("no"))
        self.assertFalse(os.path.exists(self.path("no")))

    def test_mistakes_are_named(self):
        self.fails(1, "the base", "delta", "make", "--base", MODEL, "--tuned", self.tuned, "--out", self.delta)
        self.fails(1, "folder of its own", "delta", "make", "--base", BASE, "--tuned", self.tuned, "--out", BASE)
        self.fails(1, "no/such", "delta", "check", "--base", BASE, "--delta", "no/such")
        self.fails(2, "--tuned", "delta", "make", "--base", BASE, "--out", self.delta)
        self.fails(2, "--dtype", "delta", "make", "--base", BASE, "--tuned", self.tuned, "--out", self.delta,
                   "--dtype", "f64")
        broken = self.path("broken")
        self.make()
        shutil.copytree(self.delta, broken)
        with open(broken + "/delta.safetensors", "r+b") as file:
            file.truncate(1000)
        self.fails(1, "delta.safetensors", "delta", "check", "--base", BASE, "--delta", broken)


if __name__ == "__main__":
    main()
