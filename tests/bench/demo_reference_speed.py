#!/usr/bin/python3
"""Speed of the worker-side step of mode `demo` as the published programs do it, with PyTorch on one thread: the yardstick for
tests/bench/algebra_bench.cc. Written from the equations (arXiv 2411.19870, algorithm 1): residual update, chunked DCT as matrix products,
top-k, decode of what is kept, subtraction.

Prints one JSON line: {"python_step_params_per_s": ...}, or {"skipped": reason} where python3-torch is missing.
"""

import argparse
import json
import math
import sys
import time

EDGE = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6144)
    parser.add_argument("--cols", type=int, default=4096)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError as error:
        print(json.dumps({"skipped": f"python3-torch is missing ({error})"}))
        return
    torch.set_num_threads(1)
    torch.manual_seed(1)
    down, across = arguments.rows // EDGE, arguments.cols // EDGE

    i = torch.arange(EDGE).reshape(-1, 1)
    b = torch.arange(EDGE).reshape(1, -1)
    basis = math.sqrt(2 / EDGE) * torch.cos(math.pi * (2 * i + 1) * b / (2 * EDGE))
    basis[:, 0] = math.sqrt(1 / EDGE)
    residual = torch.zeros(arguments.rows, arguments.cols)
    gradient = torch.randn(arguments.rows, arguments.cols)

    def tiles_of(matrix):
        return matrix.view(down, EDGE, across, EDGE).permute(0, 2, 1, 3)

    def step():
        residual.mul_(0.999).add_(gradient, alpha=4e-4)
        spectrum = basis.T @ tiles_of(residual) @ basis
        flat = spectrum.reshape(down * across, EDGE * EDGE)
        index = torch.topk(flat.abs(), arguments.k, dim=1, sorted=False).indices
        value = torch.gather(flat, 1, index)
        kept = torch.zeros_like(flat).scatter_(1, index, value).view(down, across, EDGE, EDGE)
        tiles_of(residual).sub_(basis @ kept @ basis.T)

    best = math.inf
    with torch.no_grad():
        step()
        for _ in range(arguments.repeats):
            start = time.process_time()
            step()
            best = min(best, time.process_time() - start)
    print(json.dumps({"python_step_params_per_s": residual.numel() / best, "torch": torch.__version__}))


if __name__ == "__main__":
    sys.exit(main())
