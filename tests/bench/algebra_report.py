"""Merges what algebra.sh measured: prints a table, and writes JSON if a file is given. Usage: algebra_report.py FOLDER [FILE]."""

import json
import os
import sys


def load(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file)


def main():
    folder, target = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    facts, python = load(folder, "facts.json"), load(folder, "python.json")
    best = {}  # the fastest repetition of each part
    wall = {}  # likewise by wall time, to compare numbers of threads
    for run in load(folder, "bench.json")["benchmarks"]:
        if run.get("run_type") == "aggregate":
            continue
        name = run["run_name"].removeprefix("BM_").removesuffix("/real_time")
        clock = "real_time" if run["run_name"].endswith("/real_time") else "cpu_time"
        if name not in best or run[clock] < best[name]["ms"]:
            best[name] = {"ms": run[clock], "params_per_s": run["params_per_s"], "memcpy_fraction": run.get("memcpy_fraction")}
        wall[name] = min(wall.get(name, run["real_time"]), run["real_time"])

    reference = python.get("python_step_params_per_s")
    step = best["Step/1"]
    summary = {
        "step_params_per_s": step["params_per_s"],
        "python_step_params_per_s": reference,
        "step_vs_python": step["params_per_s"] / reference if reference else None,
        "step_memcpy_fraction": step["memcpy_fraction"],
        "step_two_threads_speedup": wall["Step/1"] / wall["Step/2"],
        "apply_memcpy_fraction": best["Apply/1"]["memcpy_fraction"],
        "accumulate_ms": best["ValidateAndAccumulate"]["ms"],
        **facts,
        "parts": best,
    }
    if "skipped" in python:
        summary["python_skipped"] = python["skipped"]

    print(f"{'part':24}{'ms':>10}{'M params/s':>14}{'of memcpy':>12}")
    for name, part in best.items():
        fraction = f"{part['memcpy_fraction']:.3f}" if part["memcpy_fraction"] else "-"
        print(f"{name:24}{part['ms']:10.2f}{part['params_per_s'] / 1e6:14.1f}{fraction:>12}")
    for name, value in summary.items():
        if name != "parts":
            print(f"{name:32}{value}")
    if target:
        with open(target, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
