"""Runs an example in a process where PyTorch, with its own OpenMP threads, has already computed something.

Usage: beside_torch.py EXAMPLE ARGUMENT...
"""

import runpy
import sys

import torch

square = torch.ones(256, 256)
assert float((square @ square)[0, 0]) == 256
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert float((square @ square)[0, 0]) == 256
