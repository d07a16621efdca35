#!/usr/bin/env python3
"""Training of okapi beside PyTorch on the same device: same shape, windows, optimizer and run.

    python3 -m venv venv && venv/bin/pip install torch transformers peft
    venv/bin/python scripts/bench/compare_training.py --okapi build/release/bin/okapi --threads 2
    venv/bin/python scripts/bench/compare_training.py --okapi build/cuda/bin/okapi --device cuda

A step is forward, backward, clipping and AdamW on windows of which every token is learned, of a model with random
weights. The two take turns, a process each, so that what slows the machine for a while slows both; a process's
first step does not count, and the best of all its rounds' steps does.

On the CPU everything is f32 and PyTorch runs eagerly. On a GPU activations are bf16: of full training the weights
have f32 masters (torch: autocast), LoRA stands beside a frozen bf16 model (peft), and the small shape is compiled by
torch. Both with transformers' Llama, sdpa attention and fused AdamW.

Peak memory is that of the whole process as the kernel saw it; on a GPU what okapi took from the driver, and the most
that torch's tensors held. The ceiling is the matrix product of `okapi bench`, measured between okapi's steps. A step is
taken to cost three times its forward pass, logits of every token included, and less where weights are frozen; what
okapi computes again does not count.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

TOKENIZER = os.path.join(os.path.dirname(__file__), "../../models/savanna-5m/tokenizer.model")


def llama(layers, width, heads, kv_heads, d_ff, vocabulary, tied=False):
    return dict(num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, num_key_value_heads=kv_heads,
                intermediate_size=d_ff, vocab_size=vocabulary, tie_word_embeddings=tied)


LLAMA_7B = llama(32, 4096, 32, 32, 11008, 32000)
# By device and name: sequences, tokens of each, the model; lora: rank, and whether torch compiles.
SHAPES = {
    "cpu": {
        "savanna-5m": dict(batch=4, length=512, model=llama(6, 256, 4, 4, 704, 1024)),
        "smollm2-135m": dict(batch=4, length=1024, model=llama(30, 576, 9, 3, 1536, 49152, tied=True), steps=2),
    },
    "cuda": {
        "tinyllama-1.1b": dict(batch=4, length=4096, model=llama(22, 2048, 32, 4, 5632, 32000), steps=4),
        "llama2-7b-lora": dict(batch=1, length=4096, model=LLAMA_7B, lora=8, steps=4),
        "llama2-7b-lora-32k": dict(batch=1, length=32768, model=LLAMA_7B, lora=8, steps=2, alone=True),
        "savanna-5m": dict(batch=128, length=512, model=llama(6, 256, 4, 4, 704, 1024), compiles=True, steps=20),
    },
}
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]


def run_torch(device, shape, threads, steps):
    """Prints tokens per second of the best step: this file, started again as a process of its own."""
    import torch
    import transformers

    on_gpu = device == "cuda"
    plan = SHAPES[device][shape]
    batch, length, sizes = plan["batch"], plan["length"], plan["model"]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(**sizes, max_position_embeddings=length, use_cache=False,
                                      attn_implementation="sdpa")
    dtype = torch.bfloat16 if plan.get("lora") else torch.float32
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config).train()
    torch.set_default_dtype(torch.float32)
    if plan.get("lora"):
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(r=plan["lora"], lora_alpha=16, target_modules=LORA_TARGETS,
                                                           task_type="CAUSAL_LM"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    forward = torch.compile(model) if plan.get("compiles") else model

    def step():
        ids = torch.randint(0, sizes["vocab_size"], (batch, length), device=device)
        with torch.autocast(device, torch.bfloat16, enabled=on_gpu):
            loss = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if on_gpu:
            torch.cuda.synchronize()

    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"tokens_per_s": batch * length / min(seconds[1:]), "torch": torch.__version__,
                      "transformers": transformers.__version__,
                      "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None}))


def write_run(folder, device, shape, deterministic):
    """A configuration of `okapi train`, with the model and the text it names; returns its path."""
    plan = SHAPES[device][shape]
    length = plan["length"]
    model = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6,
             "rope_theta": 10000.0, "max_position_embeddings": length, **plan["model"]}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(model, file)
    os.symlink(os.path.abspath(TOKENIZER), os.path.join(folder, "tokenizer.model"))
    letters = random.Random(1)
    n_words = 200_000 if device == "cpu" else 1_200_000
    with open(os.path.join(folder, "text.txt"), "w") as file:
        for _ in range(n_words):
            file.write("".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 8))) + " ")
    # A window's last token is only a target: one more, so that both compute `length` of them.
    run = {"model": folder, "init": {"random": {}}, "steps": 1, "optimizer": {"learning_rate": 1e-4, "clip": 1},
           "batch": {"sequences": plan["batch"], "length": length + 1}, "deterministic": deterministic,
           "data": {"dataset": "text", "params": {"path": os.path.join(folder, "text.txt")}, "length": length + 1,
                    "pack": True, "bos": "none"}}
    if plan.get("lora"):
        run["lora"] = {"rank": plan["lora"], "targets": LORA_TARGETS}
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


def compare(okapi, device, shape, rounds=3, threads=2, steps=None, deterministic=True, without_torch=False):
    """One row: speeds, peaks and shares of the ceiling; torch's are missing where it is not asked for."""
    plan = SHAPES[device][shape]
    steps = steps or plan.get("steps", 10)
    torch_command = [sys.executable, os.path.abspath(__file__), "--torch", shape, "--device", device,
                     "--threads", str(threads), "--steps", str(steps)]
    best = {"okapi": 0, "torch": 0}
    peak = {"okapi": 0, "torch": 0}
    ceiling = flops_per_token = 0
    theirs = None
    with tempfile.TemporaryDirectory() as folder:
        okapi_command = [okapi, "bench", "--training", write_run(folder, device, shape, deterministic),
                         "--rounds", str(steps), "--threads", str(threads), "--backend", device, "--json"]
        if device == "cuda":
            okapi_command += ["--product", "8192", "8192", "8192"]
        for _ in range(rounds):
            if not (without_torch or plan.get("alone")):
                theirs, their_peak = measured(torch_command)
                best["torch"] = max(best["torch"], theirs["tokens_per_s"])
                peak["torch"] = max(peak["torch"], theirs["peak_bytes"] or their_peak)
            report, our_peak = measured(okapi_command)
            ours = report["training"]
            ceiling = max(ceiling, ours["ceilings"]["matmul_flops_per_s"])
            flops_per_token = ours["flops_per_token"]
            best["okapi"] = max(best["okapi"], ours["tokens_per_s"])
            peak["okapi"] = max(peak["okapi"], our_peak if device == "cpu" else ours["peak_bytes"])
    versions = {"okapi": report["okapi"]}
    if theirs:
        versions.update(torch=theirs["torch"], transformers=theirs["transformers"])
    return {"shape": shape, "tokens": f"{plan['batch']} x {plan['length']}", "recompute": ours["recompute"],
            "deterministic": deterministic, "device": report["runtime"]["device"],
            "tokens_per_s": {**best, "ratio": best["okapi"] / best["torch"] if theirs else None},
            "peak_bytes": {**peak, "ratio": peak["okapi"] / peak["torch"] if theirs else None},
            "ceiling": {"matmul_flops_per_s": ceiling, "flops_per_token": flops_per_token,
                        "okapi": best["okapi"] * flops_per_token / ceiling,
                        "torch": best["torch"] * flops_per_token / ceiling},
            "versions": versions}


def print_row(row):
    speed, peak, ceiling = row["tokens_per_s"], row["peak_bytes"], row["ceiling"]
    beside = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    print(f"{row['shape']}, {row['tokens']} tokens a step"
          f"{', activations recomputed' if row['recompute'] else ''}"
          f"{'' if row['deterministic'] else ', sums in any order'}; {beside}")
    ratio = f"ratio {speed['ratio']:.2f}" if speed["ratio"] else ""
    print(f"  tokens/s       okapi {speed['okapi']:9.1f}  torch {speed['torch']:9.1f}  {ratio}")
    print(f"  of {ceiling['matmul_flops_per_s'] * 1e-9:8.1f} GFLOP/s okapi {ceiling['okapi']:6.1%}    "
          f"torch {ceiling['torch']:6.1%}")
    ratio = f"ratio {peak['ratio']:.2f}" if peak["ratio"] else ""
    print(f"  peak MiB       okapi {peak['okapi'] / 2**20:9.1f}  torch {peak['torch'] / 2**20:9.1f}  {ratio}",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--okapi", help="the okapi command")
    parser.add_argument("--device", choices=sorted(SHAPES), default="cpu")
    names = sorted({name for shapes in SHAPES.values() for name in shapes})
    parser.add_argument("--shape", nargs="+", choices=names, help="default: all of the device")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    parser.add_argument("--steps", type=int, help="of a process, after its first (default: by shape)")
    parser.add_argument("--any-order", action="store_true", help="okapi may add gradients in any order")
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--torch", choices=names, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch:
        run_torch(arguments.device, arguments.torch, arguments.threads, arguments.steps)
        return 0
    if not arguments.okapi:
        parser.error("--okapi is needed")
    rows = []
    for shape in arguments.shape or SHAPES[arguments.device]:
        if shape not in SHAPES[arguments.device]:
            parser.error(f"--shape {shape}: not one of {arguments.device}")
        rows.append(compare(arguments.okapi, arguments.device, shape, arguments.rounds, arguments.threads,
                            arguments.steps, not arguments.any_order, arguments.without_torch))
        if not arguments.json:
            print_row(rows[-1])
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "results": rows}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
