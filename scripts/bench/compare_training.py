#!/usr/bin/env python3
"""Full training of okapi beside PyTorch on the CPU: same shape, windows, optimizer, threads and run.

    python3 -m venv venv && venv/bin/pip install torch transformers
    venv/bin/python scripts/bench/compare_training.py --okapi build/release/bin/okapi --threads 2

A step is forward, backward, clipping and AdamW in f32 on four windows, every token of which is learned, of a
model with random weights. The two take turns, a process each, so that what slows the machine for a while slows
both; a process's first step does not count, and the best of all its rounds' steps does. Peak memory is that of the
whole process as the kernel saw it. PyTorch runs eagerly, with transformers' Llama, sdpa attention and its fused
AdamW.

The ceiling is the matrix product of `okapi bench`, measured between okapi's steps. A step is taken to cost three
times its forward pass, logits of every token included; what okapi computes again does not count.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

BATCH = 4
TOKENIZER = os.path.join(os.path.dirname(__file__), "../../models/savanna-5m/tokenizer.model")
SHAPES = {
    "savanna-5m": (512, dict(num_hidden_layers=6, hidden_size=256, num_attention_heads=4, num_key_value_heads=4,
                             intermediate_size=704, vocab_size=1024, tie_word_embeddings=False)),
    "smollm2-135m": (1024, dict(num_hidden_layers=30, hidden_size=576, num_attention_heads=9, num_key_value_heads=3,
                                intermediate_size=1536, vocab_size=49152, tie_word_embeddings=True)),
}


def run_torch(shape, threads, steps):
    """Prints tokens per second of the best step: this file, started again as a process of its own."""
    import torch
    import transformers

    length, sizes = SHAPES[shape]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(**sizes, max_position_embeddings=length, use_cache=False,
                                      attn_implementation="sdpa")
    model = transformers.LlamaForCausalLM(config).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        ids = torch.randint(0, sizes["vocab_size"], (BATCH, length))
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"tokens_per_s": BATCH * length / min(seconds[1:]), "torch": torch.__version__,
                      "transformers": transformers.__version__}))


def write_run(folder, shape):
    """A configuration of `okapi train`, with the model and the text it names; returns its path."""
    length, sizes = SHAPES[shape]
    model = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6,
             "rope_theta": 10000.0, "max_position_embeddings": length, **sizes}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(model, file)
    os.symlink(os.path.abspath(TOKENIZER), os.path.join(folder, "tokenizer.model"))
    letters = random.Random(1)
    with open(os.path.join(folder, "text.txt"), "w") as file:
        for _ in range(200_000):
            file.write("".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 8))) + " ")
    # A window's last token is only a target: one more, so that both compute `length` of them.
    run = {"model": folder, "init": {"random": {}}, "steps": 1, "optimizer": {"learning_rate": 1e-4, "clip": 1},
           "batch": {"sequences": BATCH, "length": length + 1},
           "data": {"dataset": "text", "params": {"path": os.path.join(folder, "text.txt")}, "length": length + 1,
                    "pack": True, "bos": "none"}}
    path = os.path.join(folder, "train.yaml")  # JSON is YAML
    with open(path, "w") as file:
        json.dump(run, file)
    return path


def measured(command):
    """What a process prints as JSON, and its peak memory in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed with {process.returncode}")
    return json.loads(output), usage.ru_maxrss * 1024


def compare(arguments, shape, steps):
    torch_command = [sys.executable, os.path.abspath(__file__), "--torch", shape, "--threads", str(arguments.threads),
                     "--steps", str(steps)]
    best = {"okapi": 0, "torch": 0}
    peak = {"okapi": 0, "torch": 0}
    ceiling = flops_per_token = 0
    with tempfile.TemporaryDirectory() as folder:
        okapi_command = [arguments.okapi, "bench", "--training", write_run(folder, shape), "--rounds", str(steps),
                         "--threads", str(arguments.threads), "--json"]
        for _ in range(arguments.rounds):
            theirs, their_peak = measured(torch_command)
            report, our_peak = measured(okapi_command)
            ours = report["training"]
            ceiling = max(ceiling, ours["ceilings"]["matmul_flops_per_s"])
            flops_per_token = ours["flops_per_token"]
            best["okapi"] = max(best["okapi"], ours["tokens_per_s"])
            best["torch"] = max(best["torch"], theirs["tokens_per_s"])
            peak["okapi"] = max(peak["okapi"], our_peak)
            peak["torch"] = max(peak["torch"], their_peak)
    return {"shape": shape, "tokens": BATCH * SHAPES[shape][0], "recompute": ours["recompute"],
            "tokens_per_s": {**best, "ratio": best["okapi"] / best["torch"]},
            "peak_bytes": {**peak, "ratio": peak["okapi"] / peak["torch"]},
            "ceiling": {"matmul_flops_per_s": ceiling, "flops_per_token": flops_per_token,
                        "okapi": best["okapi"] * flops_per_token / ceiling,
                        "torch": best["torch"] * flops_per_token / ceiling},
            "versions": {"okapi": report["okapi"], "torch": theirs["torch"], "transformers": theirs["transformers"]}}


def print_row(row):
    speed, peak, ceiling = row["tokens_per_s"], row["peak_bytes"], row["ceiling"]
    print(f"{row['shape']}, {row['tokens']} tokens a step; okapi {row['versions']['okapi']}"
          f"{', activations recomputed' if row['recompute'] else ''}, torch {row['versions']['torch']}, "
          f"transformers {row['versions']['transformers']}")
    print(f"  tokens/s       okapi {speed['okapi']:8.1f}  torch {speed['torch']:8.1f}  ratio {speed['ratio']:.2f}")
    print(f"  of {ceiling['matmul_flops_per_s'] * 1e-9:5.1f} GFLOP/s okapi {ceiling['okapi']:6.1%}    "
          f"torch {ceiling['torch']:6.1%}")
    print(f"  peak MiB       okapi {peak['okapi'] / 2**20:8.1f}  torch {peak['torch'] / 2**20:8.1f}  "
          f"ratio {peak['ratio']:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--okapi", help="the okapi command")
    parser.add_argument("--shape", nargs="+", default=sorted(SHAPES), choices=sorted(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    parser.add_argument("--steps", type=int, help="of a process, after its first (default: 10, of smollm2-135m 2)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--torch", choices=sorted(SHAPES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch:
        run_torch(arguments.torch, arguments.threads, arguments.steps)
        return 0
    if not arguments.okapi:
        parser.error("--okapi is needed")
    rows = []
    for shape in arguments.shape:
        rows.append(compare(arguments, shape, arguments.steps or (2 if shape == "smollm2-135m" else 10)))
        if not arguments.json:
            print_row(rows[-1])
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "results": rows}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
