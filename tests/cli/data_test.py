"""okapi data: files of tokens, by arguments and by a configuration."""

import gzip
import json
import os
import signal
import subprocess
import time

from command import CommandTest, DATA, MODEL, OKAPI, main


class DataTest(CommandTest):
    @staticmethod
    def text(i):
        return f"Document {i} " + "word " * (i % 20 + 5)

    def corpus(self, n=20):
        lines = "".join(json.dumps({"text": self.text(i)}) + "\n" for i in range(n))
        path = self.path("corpus.jsonl.gz")
        with gzip.open(path, "wt") as file:
            file.write(lines)
        return path

    def prepare(self, *arguments):
        return ["data", "prepare", "--tokenizer", MODEL, *arguments]

    def test_arguments_and_configuration_give_the_same_file(self):
        corpus, one, two = self.corpus(), self.path("one.tokens"), self.path("two.tokens")
        first = self.json_of(*self.prepare("--dataset", "jsonl", "--param", f"path={corpus}", "--param",
                                           "min_characters=40", "--bos", "none", "--eos", "--out", one, "--json"))
        config = self.path("data.json", json.dumps({
            "dataset": "jsonl", "params": {"path": corpus, "min_characters": 40}, "seed": 1, "bos": "none",
            "eos": True}))
        self.succeeds(*self.prepare("--config", config, "--out", two))
        with open(one, "rb") as left, open(two, "rb") as right:
            self.assertEqual(left.read(), right.read())
        n_kept = sum(len(self.text(i)) >= 40 for i in range(20))
        self.assertTrue(0 < n_kept < 20)
        self.assertEqual(first["n_documents"], n_kept)
        shown = self.json_of("data", "info", one, "--verify", "--json")
        self.assertEqual(shown, first)
        text = self.succeeds("data", "info", one, "--verify")
        self.assertIn("(verified)", text)
        self.assertIn(f"{n_kept} from {n_kept} records", text)

    def test_conversations_can_be_prepared(self):
        out = self.path("chats.tokens")
        about = self.json_of(*self.prepare(
            "--dataset", "conversations", "--param", f"path={DATA}/conversations/fastchat_excerpt.json", "--length",
            256, "--out", out, "--json"))
        self.assertGreaterEqual(about["n_documents"], 24)
        self.assertLess(about["n_learned"], about["n_tokens"])
        self.assertEqual(about["documents"]["chat"]["length"], 256)

    def test_wrong_arguments_are_told(self):
        out = self.path("x.tokens")
        self.fails(2, "--dataset or --config", *self.prepare("--out", out))
        for text, named in [('{"dataset": "lines", "foo": 1}', "foo: unknown key"), ("{", "not valid JSON"),
                            ("[]", "wanted an object")]:
            done = self.fails(1, "bad.json: ", *self.prepare("--config", self.path("bad.json", text), "--out", out))
            self.assertIn(named, done.stderr)
        self.fails(2, "did you mean 'path'", *self.prepare("--dataset", "jsonl", "--param", "pat=x", "--out", out))
        self.fails(2, "key=value", *self.prepare("--dataset", "jsonl", "--param", "path", "--out", out))
        self.fails(1, "no/such: cannot open",
                   *self.prepare("--dataset", "jsonl", "--param", "path=no/such", "--out", out))
        self.fails(1, "never ends", *self.prepare("--dataset", "lines", "--param", "training=true", "--param",
                                                  "style=compact", "--param", "length=128", "--out", out))
        self.fails(1, "is no token file", "data", "info", self.path("text", "x" * 1000))
        self.assertFalse(os.path.exists(out))

    def test_a_damaged_file_is_told(self):
        out = self.path("one.tokens")
        self.succeeds(*self.prepare("--dataset", "jsonl", "--param", f"path={self.corpus()}", "--out", out))
        with open(out, "r+b") as file:
            file.seek(40)
            byte = file.read(1)
            file.seek(40)
            file.write(bytes([byte[0] ^ 1]))
        self.succeeds("data", "info", out)  # the tokens are not read
        self.fails(1, "SHA-256", "data", "info", out, "--verify")
        os.truncate(out, os.path.getsize(out) - 1)
        self.fails(1, "cut off", "data", "info", out)

    def test_an_interrupt_leaves_nothing_and_exits_with_130(self):
        out = self.path("many.tokens")
        command = [OKAPI, *self.prepare("--dataset", "jsonl", "--param", f"path={self.corpus(200_000)}", "--out", out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            # Once the file aside is there, records are being made into tokens.
            limit = time.monotonic() + 200
            while not [name for name in os.listdir(self.folder) if name.startswith("many.tokens.")]:
                self.assertIsNone(process.poll())
                self.assertLess(time.monotonic(), limit)
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 130, errors)
        self.assertEqual(os.listdir(self.folder), ["corpus.jsonl.gz"])


if __name__ == "__main__":
    main()
