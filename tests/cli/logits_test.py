"""okapi logits, against what transformers computed (tests/data/golden)."""

import json
import os
import stat

from command import CommandTest, DATA, main, read_safetensors, relative_error

GOLDEN = DATA + "/golden/tiny-gqa"
TOLERANCE = 1e-4  # norm of the difference over the norm
VOCAB = 512

with open(DATA + "/golden/index.json", encoding="utf-8") as index_file:
    LONGROPE = json.load(index_file)["rope_variants"]["longrope4"]


def numbers(values):
    return ";".join(map(str, values))


# transformers' variants as specs; index.json has their parameters.
SPECS = {
    "default": "plain",
    "linear4": "linear:scale=4",
    "dynamic4": "dynamic_ntk:scale=4",
    "yarn4": "yarn:scale=4",
    "yarn8_betas": "yarn:scale=8,beta_fast=16,beta_slow=2,rotation_gain=1.3",
    "llama3_8": "llama3:scale=8,low_freq_factor=1,high_freq_factor=4,trained_length=256",
    "longrope4": f"longrope:scale=4,short={numbers(LONGROPE['short_factor'])},"
                 f"long={numbers(LONGROPE['long_factor'])}",
    "theta500k": "plain:base=500000",
}


class LogitsTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        cls.golden, _ = read_safetensors(GOLDEN + "/expected.safetensors")

    def logits(self, ids, *options):
        ids_file = self.path("ids.txt", " ".join(map(str, ids)) + "\n")
        out = self.path("out.safetensors")
        self.succeeds("logits", GOLDEN, "--ids", ids_file, "--out", out, *options)
        tensors, self.metadata = read_safetensors(out)
        shape, values = tensors["logits"]
        self.assertEqual(shape, [len(ids), VOCAB])
        return values

    def check_long(self, found, name, what):
        first, last = self.golden[f"long.{name}.first16"][1], self.golden[f"long.{name}.last16"][1]
        self.assertLess(relative_error(found[:16 * VOCAB], first), TOLERANCE, what + ", first 16")
        self.assertLess(relative_error(found[-16 * VOCAB:], last), TOLERANCE, what + ", last 16")

    def test_a_plain_pass(self):
        ids = self.golden["input_ids"][1]
        wanted = self.golden["logits"][1]
        for row in range(2):
            found = self.logits(ids[row * 48:(row + 1) * 48])
            self.assertLess(relative_error(found, wanted[row * 48 * VOCAB:(row + 1) * 48 * VOCAB]), TOLERANCE)
        self.assertIn("session", self.metadata)

    def test_every_variant_of_transformers(self):
        ids = self.golden["long_ids"][1]
        for name, spec in SPECS.items():
            self.check_long(self.logits(ids, "--rope", spec), name, spec)

    def test_chunks_change_nothing(self):
        ids = self.golden["long_ids"][1]
        for chunk in (1, 7, 64):
            for name in ("default", "dynamic4", "yarn4"):
                found = self.logits(ids, "--rope", SPECS[name], "--chunk", chunk)
                self.check_long(found, name, f"{name} in chunks of {chunk}")

    def test_the_declared_length_decides(self):
        ids = self.golden["long_ids"][1]
        found = self.logits(ids, "--rope", SPECS["dynamic4"], "--rope-length", 512)
        self.assertGreater(relative_error(found[:16 * VOCAB], self.golden["long.dynamic4.first16"][1]), 0.01)

    def test_positions_may_be_given(self):
        positions = self.path("positions.txt", "\n".join(map(repr, self.golden["random.positions"][1])))
        found = self.logits(self.golden["long_ids"][1], "--positions", positions)
        self.assertLess(relative_error(found[-16 * VOCAB:], self.golden["random.logits.last16"][1]), TOLERANCE)

    def test_raw_keys_change_nothing(self):
        found = self.logits(self.golden["long_ids"][1], "--rope", SPECS["yarn4"], "--raw-keys")
        self.check_long(found, "yarn4", "raw keys")

    def test_following_takes_the_length_so_far(self):
        ids = self.golden["long_ids"][1][:280]
        spec = ("--rope", SPECS["dynamic4"])
        followed = self.logits(ids, *spec, "--rope-length", "follow", "--chunk", 20)
        whole = self.logits(ids, *spec)
        self.assertLess(relative_error(followed[-VOCAB:], whole[-VOCAB:]), TOLERANCE)
        # At the end of the first chunk twenty tokens, within the trained 256, leave the scheme plain.
        at_20 = slice(19 * VOCAB, 20 * VOCAB)
        self.assertLess(relative_error(followed[at_20], self.logits(ids[:20])[at_20]), TOLERANCE)
        self.assertGreater(relative_error(followed[at_20], whole[at_20]), 100 * TOLERANCE)

    def test_mistakes_are_named(self):
        out = self.path("out.safetensors")
        good = self.path("good.txt", "1 2 3")
        bad = self.path("bad.txt", "1 2\n3 x4\n")
        self.fails(1, "bad.txt:2: wanted a token id, found 'x4'", "logits", GOLDEN, "--ids", bad, "--out", out)
        self.fails(1, "has no numbers", "logits", GOLDEN, "--ids", self.path("no.txt", " \n"), "--out", out)
        self.fails(1, "none.txt", "logits", GOLDEN, "--ids", self.path("none.txt"), "--out", out)
        self.fails(1, "2 positions for 3 ids", "logits", GOLDEN, "--ids", good, "--out", out,
                   "--positions", self.path("two.txt", "0 1"))
        self.fails(1, "nan.txt: positions: ", "logits", GOLDEN, "--ids", good, "--out", out,
                   "--positions", self.path("nan.txt", "0 nan 2"))
        self.fails(1, "no/folder", "logits", GOLDEN, "--ids", good, "--out", "no/folder/out.safetensors")
        self.fails(2, "--out", "logits", GOLDEN, "--ids", good)
        self.fails(1, "large.txt: ", "logits", GOLDEN, "--ids", self.path("large.txt", "1 512"), "--out", out)

    def test_only_a_file_is_replaced(self):
        # It is written aside and renamed, which would put a file in the place of a device.
        good, pipe, link = self.path("good.txt", "1 2 3"), self.path("pipe"), self.path("link")
        os.mkfifo(pipe)
        os.symlink("/dev/null", link)
        for place in (pipe, link, self.folder):
            self.fails(1, place + ": ", "logits", GOLDEN, "--ids", good, "--out", place)
        self.assertTrue(stat.S_ISFIFO(os.lstat(pipe).st_mode))
        self.assertTrue(os.path.islink(link))
        self.assertEqual(sorted(os.listdir(self.folder)), ["good.txt", "link", "pipe"])

    def test_a_failed_call_leaves_no_file(self):
        out = self.path("out.safetensors")
        self.fails(1, "", "logits", GOLDEN, "--ids", self.path("large.txt", "1 512"), "--out", out)
        self.assertEqual(sorted(os.listdir(self.folder)), ["large.txt"])


if __name__ == "__main__":
    main()
