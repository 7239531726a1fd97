#!/usr/bin/python3
"""Golden vectors of mode `demo`, from the published equations alone (arXiv 2411.19870, algorithm 1; docs/explanation/architecture.md,
"Optimisers").

Independent of the C++ code: dense DCT matrices, sorts and loops in float64, parameters and residuals rounded to float32 between steps as
the reference program keeps them.

  demo_reference.py --check FILE    computes again and compares with FILE
  demo_reference.py --rewrite FILE  writes FILE
"""

import argparse
import json
import math
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: needs python3-numpy")
    sys.exit(77)

EDGE = 64
SMALLEST_DIVISOR = 16


def edge(extent):
    """Largest divisor up to 64; where that is tiny (the published program would not compress), the edge of equal padded tiles."""
    if extent <= EDGE:
        return extent
    divisor = max(d for d in range(1, EDGE + 1) if extent % d == 0)
    if divisor >= SMALLEST_DIVISOR:
        return divisor
    tiles = math.ceil(extent / EDGE)
    return math.ceil(extent / tiles)


def dct_matrix(n):
    """F[i, b] = c_b cos(pi (2i+1) b / 2n)."""
    i, b = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    scale = np.where(b == 0, math.sqrt(1 / n), math.sqrt(2 / n))
    return scale * np.cos(math.pi * (2 * i + 1) * b / (2 * n))


class Tiles:
    """A block as a matrix in tiles [down, across, rows, cols]."""

    def __init__(self, shape):
        self.shape = shape
        if len(shape) < 2:
            self.rows, self.cols = 1, int(np.prod(shape))
        else:
            self.rows, self.cols = shape[0], int(np.prod(shape[1:]))
        self.height, self.width = edge(self.rows), edge(self.cols)
        self.down = math.ceil(self.rows / self.height)
        self.across = math.ceil(self.cols / self.width)
        self.vertical = dct_matrix(self.height)
        self.horizontal = dct_matrix(self.width)

    def encode(self, block):
        padded = np.zeros((self.down * self.height, self.across * self.width))
        padded[: self.rows, : self.cols] = block.reshape(self.rows, self.cols)
        tiles = padded.reshape(self.down, self.height, self.across, self.width).transpose(0, 2, 1, 3)
        return self.vertical.T @ tiles @ self.horizontal

    def decode(self, spectrum):
        tiles = self.vertical @ spectrum @ self.horizontal.T
        padded = tiles.transpose(0, 2, 1, 3).reshape(self.down * self.height, self.across * self.width)
        return padded[: self.rows, : self.cols].reshape(self.shape)


def keep_largest(spectrum, k):
    """(mask, gap): the k largest magnitudes of each tile, lower index first among equals, and the smallest relative gap to what is left
    out."""
    down, across, height, width = spectrum.shape
    flat = np.abs(spectrum).reshape(down * across, height * width)
    k = min(k, flat.shape[1])
    order = np.argsort(-flat, axis=1, kind="stable")
    mask = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(mask, order[:, :k], True, axis=1)
    gap = 1.0
    if k < flat.shape[1]:
        ranked = np.take_along_axis(flat, order, axis=1)
        gap = float(np.min((ranked[:, k - 1] - ranked[:, k]) / ranked[:, k - 1]))
    return mask.reshape(spectrum.shape), gap


class Dice:
    """SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), so that inputs need not be stored."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    def floats(self, count):
        """Sums of two uniform numbers, in (-1, 1)."""
        span = 2**23 + 1
        return np.array([(self.next() % span + self.next() % span - 2**23) * 2.0**-23 for _ in range(count)], np.float32)


def run(case):
    """All steps of a case; theta, the first worker's residual and all supports after each; and the smallest gaps that decide something."""
    shapes = [tuple(shape) for shape in case["shapes"]]
    sizes = [int(np.prod(shape)) for shape in shapes]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    total = int(offsets[-1])
    tiles = [Tiles(shape) for shape in shapes]
    dice = Dice(case["seed"])
    theta = dice.floats(total)
    residuals = [np.zeros(total, np.float32) for _ in range(case["workers"])]
    steps, select_gap, sign_gap = [], 1.0, 1.0
    for step in range(case["steps"]):
        rate = np.float32(case["learning_rates"][step])
        gradients = [dice.floats(total) for _ in range(case["workers"])]
        theta = (theta * np.float32(1 - rate * np.float32(case["weight_decay"]))).astype(np.float32)
        sums = [np.zeros((t.down, t.across, t.height, t.width)) for t in tiles]
        senders = [np.zeros(s.shape) for s in sums]
        supports = []
        for worker, gradient in enumerate(gradients):
            norm = math.sqrt(float(np.sum(gradient.astype(np.float64) ** 2)))
            clip = min(1.0, case["clip_norm"] / norm) if case["clip_norm"] > 0 else 1.0
            delta = (case["beta"] * residuals[worker].astype(np.float64) + float(rate) * clip * gradient).astype(np.float32)
            support = []
            for b, t in enumerate(tiles):
                where = slice(offsets[b], offsets[b + 1])
                spectrum = t.encode(delta[where].astype(np.float64).reshape(shapes[b]))
                mask, gap = keep_largest(spectrum, case["k"])
                select_gap = min(select_gap, gap)
                kept = np.where(mask, spectrum, 0)
                sums[b] += kept
                senders[b] += mask
                delta[where] -= t.decode(kept).astype(np.float32).reshape(-1)
                flat = mask.reshape(t.down * t.across, -1)
                support.append([np.flatnonzero(chunk).tolist() for chunk in flat])
            residuals[worker] = delta
            supports.append(support)
        for b, t in enumerate(tiles):
            where = slice(offsets[b], offsets[b + 1])
            mean = np.where(senders[b] > 0, sums[b] / np.maximum(senders[b], 1), 0)
            update = t.decode(mean).reshape(-1)
            # Exact zeros by symmetry come out of float64 as noise.
            noise = np.abs(update) < 1e-9 * np.max(np.abs(update))
            update[noise] = 0
            moving = np.abs(update[~noise])
            if moving.size:
                sign_gap = min(sign_gap, float(np.min(moving) / np.max(moving)))
            theta[where] = (theta[where] - rate * np.sign(update).astype(np.float32)).astype(np.float32)
        steps.append({"theta": theta.tolist(), "residual": residuals[0].tolist(), "supports": supports})
    return {**case, "results": steps}, select_gap, sign_gap


CASES = [
    {"name": "vectors", "shapes": [[130], [7], [97], []], "workers": 3, "steps": 3, "k": 4},
    {"name": "matrix", "shapes": [[26, 66]], "workers": 2, "steps": 3, "k": 32},
    {"name": "odd_shapes", "shapes": [[3, 5], [67, 9], [1, 40]], "workers": 4, "steps": 2, "k": 8},
    {"name": "convolution", "shapes": [[6, 4, 3, 3], [6]], "workers": 3, "steps": 3, "k": 16},
]
DEFAULTS = {"beta": 0.999, "clip_norm": 1.0, "weight_decay": 0.1, "learning_rates": [0.01, 0.02, 0.005]}
# A case whose outcome hangs on rounding proves nothing: seeds are taken in order until these gaps hold.
SELECT_GAP, SIGN_GAP = 1e-4, 1e-4


def make():
    cases = []
    for case in CASES:
        for seed in range(1, 1000):
            result, select_gap, sign_gap = run({**DEFAULTS, **case, "seed": seed})
            if select_gap > SELECT_GAP and sign_gap > SIGN_GAP:
                cases.append(result)
                break
        else:
            sys.exit(f"{case['name']}: no seed gives clear decisions")
    return {"comment": "written by tests/golden/demo_reference.py --rewrite", "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", metavar="FILE")
    action.add_argument("--rewrite", metavar="FILE")
    arguments = parser.parse_args()
    made = json.loads(json.dumps(make()), parse_float=lambda text: float(f"{float(text):.8g}"))
    if arguments.rewrite:
        with open(arguments.rewrite, "w", encoding="ascii") as file:
            json.dump(made, file, separators=(",", ":"))
            file.write("\n")
        return
    with open(arguments.check, encoding="ascii") as file:
        stored = json.load(file)
    if [c["seed"] for c in stored["cases"]] != [c["seed"] for c in made["cases"]]:
        sys.exit("the seeds differ: run with --rewrite")
    for old, new in zip(stored["cases"], made["cases"]):
        for old_step, new_step in zip(old["results"], new["results"]):
            same = old_step["supports"] == new_step["supports"] and np.allclose(old_step["theta"], new_step["theta"], rtol=1e-6, atol=1e-9)
            if not same:
                sys.exit(f"{old['name']}: the stored vectors differ from what the equations give")
    print(f"{len(made['cases'])} cases agree")


if __name__ == "__main__":
    main()
