#!/usr/bin/env python3
"""Prefill and decode of okapi beside transformers on the CPU: same shape, threads and run.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python scripts/bench/compare_transformers.py --okapi build/release/bin/okapi --threads 2

The two take turns, round by round, so that what slows the machine for a while slows both, and the best
round of each counts. transformers runs as it does best here: sdpa attention, inference mode, logits of
the last token only. Both models have random weights: speed does not depend on their values.
"""

import argparse
import json
import subprocess
import sys
import time

import torch
import transformers

# The shapes of `okapi bench --shape`.
SHAPES = {
    "smollm2-135m": dict(num_hidden_layers=30, hidden_size=576, num_attention_heads=9, num_key_value_heads=3,
                         intermediate_size=1536, vocab_size=49152),
    "smollm2-360m": dict(num_hidden_layers=32, hidden_size=960, num_attention_heads=15, num_key_value_heads=5,
                         intermediate_size=2560, vocab_size=49152),
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
DECODED_TOKENS = 16  # as okapi bench has it


def make_model(shape, dtype, context_length):
    config = transformers.LlamaConfig(**SHAPES[shape], max_position_embeddings=context_length,
                                      tie_word_embeddings=True, attn_implementation="sdpa")
    torch.manual_seed(1)
    return transformers.LlamaForCausalLM(config).to(DTYPES[dtype]).eval()


def seconds_of(body):
    start = time.perf_counter()
    body()
    return time.perf_counter() - start


def transformers_round(model, n_tokens):
    """Tokens per second of a prefill, and of decoding at depth 0."""
    ids = torch.randint(0, model.config.vocab_size, (1, n_tokens))
    prefill = seconds_of(lambda: model(ids, use_cache=True, logits_to_keep=1))

    cache = transformers.DynamicCache()
    step = lambda: model(ids[:, :1], past_key_values=cache, use_cache=True, logits_to_keep=1)
    step()
    step()  # the first token after the prompt pays for what is set up once, there as here
    decode = seconds_of(lambda: [step() for _ in range(DECODED_TOKENS)])
    return n_tokens / prefill, DECODED_TOKENS / decode


def okapi_round(okapi, shape, dtype, n_tokens, threads):
    command = [okapi, "bench", "--shape", shape, "--dtype", dtype, "--tokens", str(n_tokens), "--threads",
               str(threads), "--rounds", "1", "--depths", "0", "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    result = report["results"][0]
    return result["prefill"]["tokens_per_s"], result["decode"]["tokens_per_s"]


def compare(arguments, dtype):
    model = make_model(arguments.shape, dtype, arguments.tokens + DECODED_TOKENS + 2)
    best = {"transformers": (0, 0), "okapi": (0, 0)}
    for _ in range(arguments.rounds):
        rounds = {
            "transformers": transformers_round(model, arguments.tokens),
            "okapi": okapi_round(arguments.okapi, arguments.shape, dtype, arguments.tokens, arguments.threads),
        }
        best = {name: tuple(map(max, best[name], rounds[name])) for name in best}
    ratios = [mine / theirs for mine, theirs in zip(best["okapi"], best["transformers"])]
    return {"dtype": dtype,
            "prefill": {"okapi": best["okapi"][0], "transformers": best["transformers"][0], "ratio": ratios[0]},
            "decode": {"okapi": best["okapi"][1], "transformers": best["transformers"][1], "ratio": ratios[1]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--okapi", required=True, help="the okapi command")
    parser.add_argument("--shape", default="smollm2-135m", choices=sorted(SHAPES))
    parser.add_argument("--dtype", nargs="+", default=["f32", "bf16"], choices=sorted(DTYPES))
    parser.add_argument("--tokens", type=int, default=2048, help="length of the prefill")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    with torch.inference_mode():
        rows = [compare(arguments, dtype) for dtype in arguments.dtype]
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__,
                          "shape": arguments.shape, "threads": arguments.threads, "results": rows}, indent=2))
        return 0
    print(f"{arguments.shape}, {arguments.threads} threads, tokens/s; torch {torch.__version__}, "
          f"transformers {transformers.__version__}")
    for row in rows:
        for what in ("prefill", "decode"):
            found = row[what]
            print(f"{row['dtype']:5} {what:8} okapi {found['okapi']:8.1f}  "
                  f"transformers {found['transformers']:8.1f}  ratio {found['ratio']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
