#!/usr/bin/env python3
"""okapi's CUDA backend against the ceilings of its device, and against transformers: Markdown tables.

    python3 scripts/bench/measure_gpu.py --okapi build/cuda/bin/okapi --out backends/cuda/MEASURED.md

Every figure of a shape is taken in one run of `okapi bench`, which measures the ceilings too; transformers
(sdpa attention, inference mode, logits of the last token only) runs right after it on the same device. Weights
are random: speed does not depend on their values, but for zeros. Training is compare_training.py's.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time

import compare_training

SHAPES = {
    "tinyllama-1.1b": dict(prefills=[8192, 32768], depths=[2048], batch=(16, 4096), config=dict(
        num_hidden_layers=22, hidden_size=2048, num_attention_heads=32, num_key_value_heads=4,
        intermediate_size=5632, vocab_size=32000)),
    "llama2-7b": dict(prefills=[2048, 8192, 16384, 32768], depths=[2048, 16384], batch=(16, 4096), config=dict(
        num_hidden_layers=32, hidden_size=4096, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=11008, vocab_size=32000)),
    "llama2-13b": dict(prefills=[2048, 16384], depths=[2048], batch=None, config=dict(
        num_hidden_layers=40, hidden_size=5120, num_attention_heads=40, num_key_value_heads=40,
        intermediate_size=13824, vocab_size=32000)),
}
DECODED_TOKENS = 16  # as okapi bench has it
JOB = dict(shape="llama2-13b", prompts=50, length=16384, tokens=35)  # as Giraffe and LongChat asked
TOKENIZER = "models/savanna-5m/tokenizer.model"  # any will do: ids decide no speed


def okapi_figures(okapi, shape, rounds, with_job):
    plan = SHAPES[shape]
    command = [okapi, "bench", "--backend", "cuda", "--dtype", "bf16", "--shape", shape, "--rounds", str(rounds),
               "--tokens", "2048", "--product", "8192", "8192", "8192", "--json",
               "--prefills", *map(str, plan["prefills"]), "--depths", *map(str, plan["depths"])]
    if plan["batch"]:
        command += ["--batch", str(plan["batch"][0]), "--batch-depth", str(plan["batch"][1])]
    if with_job:
        command += ["--job", str(JOB["prompts"]), "--job-length", str(JOB["length"]), "--job-tokens", str(JOB["tokens"]),
                    "--tokenizer", TOKENIZER]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def transformers_model(torch, transformers, shape, longest):
    """Random weights on the device."""
    config = transformers.LlamaConfig(**SHAPES[shape]["config"], max_position_embeddings=longest,
                                      tie_word_embeddings=False, attn_implementation="sdpa")
    torch.set_default_dtype(torch.bfloat16)
    model = transformers.LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, 0.02)
    return model


def seconds_of(torch, body):
    torch.cuda.synchronize()
    start = time.perf_counter()
    body()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def transformers_job(torch, transformers, model):
    """Seconds of one prompt of the job, with its cache: the mean of two."""
    def answer():
        cache = transformers.DynamicCache()
        ids = torch.randint(0, model.config.vocab_size, (1, JOB["length"]))
        for _ in range(JOB["tokens"]):
            logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            ids = logits[:, -1].argmax(-1, keepdim=True)
            ids.item()  # as generate() looks at each token for the end
    return seconds_of(torch, lambda: [answer(), answer()]) / 2


def job_text(job, other):
    n = job["n_prompts"]
    alone = job["without_cache_seconds_per_prompt"]
    compared = job["deterministic"]
    text = f"""
## The published job

{n} prompts of the lines task of {job['length']} tokens, {JOB['tokens']} new tokens each, {JOB['shape']}, bf16, as one evaluation:
{job['seconds']:.1f} s. Reading the whole prompt again for every token: {alone * n:,.0f} s ({alone:.1f} s measured on one prompt),
{job['times_faster']:.1f} times as long.
"""
    if other:
        text += f"""transformers with its cache, one prompt after the other: {other * n:,.0f} s ({other:.2f} s a prompt, the mean of two),
{other * n / job['seconds']:.1f} times as long.
"""
    return text + f"""Deterministic, {compared['n_prompts']} of the prompts: {compared['seconds']:.1f} s instead of {compared['seconds_otherwise']:.1f} s.
"""


def transformers_figures(shape, rounds, with_job):
    """Tokens per second by prefill length and by decode depth; nothing where it is not installed."""
    try:
        import torch
        import transformers
    except ImportError:
        return None
    plan = SHAPES[shape]
    longest = max(plan["prefills"] + plan["depths"] + [JOB["length"]]) + JOB["tokens"]
    with torch.device("cuda"), torch.inference_mode():
        model = transformers_model(torch, transformers, shape, longest)
        config = model.config
        figures = {"versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
                   "prefill": {}, "decode": {}}
        for length in plan["prefills"]:
            ids = torch.randint(0, config.vocab_size, (1, length))
            best = min(seconds_of(torch, lambda: model(ids, use_cache=True, logits_to_keep=1))
                       for _ in range(rounds + 1))
            figures["prefill"][length] = length / best
        for depth in plan["depths"]:
            ids = torch.randint(0, config.vocab_size, (1, depth))
            cache = transformers.DynamicCache()
            model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            step = lambda: model(ids[:, :1], past_key_values=cache, use_cache=True, logits_to_keep=1)
            step(), step()
            seconds = seconds_of(torch, lambda: [step() for _ in range(DECODED_TOKENS)])
            figures["decode"][depth] = DECODED_TOKENS / seconds
            del cache
        if with_job:
            figures["job"] = transformers_job(torch, transformers, model)
        del model
    torch.cuda.empty_cache()
    return figures


def rows_of(shape, report, other):
    result = report["results"][0]

    def row(what, rate, fraction, rival):
        beside = f"{rival:,.0f} | {rate / rival:.2f}" if rival else "- | -"
        return f"| {shape} | {what} | {rate:,.0f} | {fraction * 100:.0f} % | {beside} |"

    rows = []
    for prefill in result["prefills"]:
        n = prefill["n_tokens"]
        rows.append(row(f"prefill of {n}", prefill["tokens_per_s"], prefill["fraction"],
                        other and other["prefill"].get(n)))
    for depth in result["depths"]:
        n = depth["depth"]
        rows.append(row(f"decode at {n}", depth["decode_tokens_per_s"], depth["decode_fraction"],
                        other and other["decode"].get(n)))
    if "batch" in result:
        batch = result["batch"]
        rows.append(row(f"decode of {batch['n_sessions']} at {batch['depth']}", batch["tokens_per_s"],
                        batch["fraction"], None))
    return rows


def training_rows(arguments, shapes):
    """Each shape with sums in a fixed order, which is the default, and in any; torch runs beside the first. A row at a
    time, as they come."""
    for shape in shapes:
        theirs = None
        for deterministic in (True, False):
            print(f"measure_gpu: training {shape}", file=sys.stderr, flush=True)
            row = compare_training.compare(arguments.okapi, "cuda", shape, 1, os.cpu_count(), deterministic=deterministic,
                                           without_torch=arguments.without_transformers or not deterministic)
            if row["tokens_per_s"]["torch"]:
                theirs = row["tokens_per_s"]["torch"], row["peak_bytes"]["torch"]
            speed, peak = row["tokens_per_s"]["okapi"], row["peak_bytes"]["okapi"] / 2**30
            beside = (f"{theirs[0]:,.0f} | {speed / theirs[0]:.2f} | {peak:.1f} | {theirs[1] / 2**30:.1f}" if theirs
                      else f"- | - | {peak:.1f} | -")
            yield (f"| {shape} | {row['tokens']} | {'fixed' if deterministic else 'any'} | {speed:,.0f} | "
                   f"{row['ceiling']['okapi'] * 100:.0f} % | {beside} |")


TRAINING = """
## Training

Steps of `compare_training.py --device cuda`: bf16 with f32 masters, LoRA of rank 8 beside a frozen bf16 model, the small
shape compiled by torch. Tokens per second; the ceiling is the bf16 product. Peaks in GiB: what okapi took from the
driver, and the most that torch's tensors held. "Order": whether gradients are summed in a fixed order.

| shape | tokens | order | okapi | of the ceiling | torch | ratio | okapi peak | torch peak |
|---|---|---|---|---|---|---|---|---|
"""


class Report:
    """The tables, written anew to a file beside the report whenever there is more of them, so that a run that is cut
    short loses nothing, neither its own nor the report that was there."""

    def __init__(self, path):
        self.path = path
        self.about = None
        self.versions = "transformers not installed"
        self.ceilings = []
        self.rows = []
        self.rest = ""

    def add_shape(self, shape, about, other):
        self.about = about
        if other:
            self.versions = other["versions"]
        found = about["results"][0]["ceilings"]
        self.ceilings.append(f"{found['matmul_flops_per_s'] * 1e-12:.0f} TFLOP/s and "
                             f"{found['bandwidth_bytes_per_s'] * 1e-12:.2f} TB/s ({shape})")
        self.rows += rows_of(shape, about, other)
        self.write()

    def add(self, text):
        self.rest += text
        self.write()

    def text(self):
        runtime = self.about["runtime"]
        return f"""# Measured

{datetime.date.today().isoformat()}, {runtime['device']}; okapi {self.about['okapi']}; {self.versions}.
bf16, random weights, tokens per second. Prefill is set against a bf16 product of 8192 x 8192 x 8192, decode (weights
and cached keys and values read once per step) against the rate at which memory is read; both measured in the same
run: {'; '.join(self.ceilings)}. Written by `scripts/gpu-check`.

| shape | what | okapi | of the ceiling | transformers | ratio |
|---|---|---|---|---|---|
""" + "\n".join(self.rows) + "\n" + self.rest

    def write(self):
        with open(self.path + ".part", "w", encoding="utf-8") as file:
            file.write(self.text())

    def finish(self):
        os.replace(self.path + ".part", self.path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--okapi", default="build/cuda/bin/okapi")
    parser.add_argument("--out", default="backends/cuda/MEASURED.md")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the smallest shape only")
    parser.add_argument("--without-transformers", action="store_true")
    parser.add_argument("--without-job", action="store_true", help="leave out the job of 50 prompts")
    parser.add_argument("--without-training", action="store_true")
    arguments = parser.parse_args()
    shapes = list(SHAPES)[:1] if arguments.quick else arguments.shapes
    report = Report(arguments.out)
    for shape in shapes:
        print(f"measure_gpu: {shape}", file=sys.stderr, flush=True)
        with_job = shape == JOB["shape"] and not arguments.without_job
        about = okapi_figures(arguments.okapi, shape, arguments.rounds, with_job)
        other = None if arguments.without_transformers else transformers_figures(shape, arguments.rounds, with_job)
        report.add_shape(shape, about, other)
        if with_job:
            report.add(job_text(about["results"][0]["job"], other and other.get("job")))
    if not arguments.without_training:
        report.add(TRAINING)
        trained = ["savanna-5m"] if arguments.quick else list(compare_training.SHAPES["cuda"])
        for row in training_rows(arguments, trained):
            print(row, file=sys.stderr, flush=True)
            report.add(row + "\n")
    report.finish()
    print(report.text())


if __name__ == "__main__":
    main()
