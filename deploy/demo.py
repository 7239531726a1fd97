"""Runs the demo on programs that are built: what deploy/demo.sh ends in. Standard library only."""

import argparse
import csv
import json
import os
import pathlib
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

import demo_data
import federation

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUN = "kjv-demo"
BASELINE_RUN = "kjv-baseline"
# What AdamW reached with the default settings; how it was made is written in it.
BASELINE = pathlib.Path(__file__).resolve().parent / "baseline_adamw.tsv"
BASELINE_WORKERS = 4
MARKER = ".tributary-demo"

MODEL = {"gpt": {"layers": 5, "heads": 4, "width": 128, "context": 64}}
BATCH_SIZE = 8

# What each optimiser is run with: rounds by default, and the `optimizer:` block of run.yaml.
OPTIMIZERS = {
    "distro": (600, {"mode": "distro", "learning_rate": {"peak": 0.003, "warmup_rounds": 20, "final_ratio": 0.02}, "beta": 0.95, "k": 64,
                     "value_bits": 2}),
    "demo": (600, {"mode": "demo", "learning_rate": {"peak": 0.001, "warmup_rounds": 20}}),
    "allreduce": (600, {"mode": "allreduce", "learning_rate": {"peak": 0.004, "warmup_rounds": 20}, "weight_decay": 0.1}),
    "local": (300, {"mode": "local", "learning_rate": {"peak": 0.006, "warmup_rounds": 10, "final_ratio": 0.05}, "local_steps": 2,
                    "beta": 0.95, "k": 64, "value_bits": 2}),
}

ROUND_COLUMNS = ("round", "members", "included", "stragglers", "train_loss", "val_loss", "learning_rate", "local_steps", "bytes_up",
                 "bytes_down", "payload_bytes_up", "payload_bytes_down", "dense_bytes_per_direction", "duration", "wait_seconds",
                 "commit_seconds", "compute_seconds", "encode_seconds")


def human_bytes(count):
    """1234567 -> "1.23 MB" (powers of ten, three digits)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def human_count(value):
    """1234.5 -> "1,234"; small values keep three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def human_seconds(seconds):
    """Three digits of the unit that reads best."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


class DemoError(Exception):
    """A message for the person who runs the demo."""


class Interrupted(Exception):
    """A signal asked the demo to end."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="deploy/demo.sh", description="Trains one model across several sites on this machine.")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to train")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="sites, each with a worker (default 4)")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="distro")
    parser.add_argument("--work-dir", default=str(ROOT / "build" / "demo"), metavar="DIR")
    parser.add_argument("--baseline", action="store_true", help="also train with AdamW and dense gradients, and draw its curve")
    parser.add_argument("--keep", action="store_true", help="keep keys, data, journal and logs")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--binaries", default=str(ROOT / "build" / "release" / "bin"), help=argparse.SUPPRESS)
    parser.add_argument("--check-arguments", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.rounds is not None and not 1 <= parsed.rounds <= 1_000_000:
        parser.error(f"--rounds {parsed.rounds}: 1 to 1000000")
    if not 1 <= parsed.workers <= 64:
        parser.error(f"--workers {parsed.workers}: 1 to 64")
    check_work_dir(parser, pathlib.Path(parsed.work_dir))
    return parsed


def check_work_dir(parser, work_dir):
    """The demo empties its folder, so it only takes one that is its own, empty, or not there."""
    if work_dir.exists():
        if not work_dir.is_dir():
            parser.error(f"--work-dir {work_dir}: not a folder")
        if any(work_dir.iterdir()) and not (work_dir / MARKER).exists():
            parser.error(f"--work-dir {work_dir}: holds files that are not from a demo; name an empty folder")


class Screen:
    """What the person sees: stages, and one live line on a terminal only."""

    def __init__(self):
        self._terminal = sys.stderr.isatty()
        self._live = False

    def stage(self, text):
        self.clear()
        print(f"demo: {text}", file=sys.stderr, flush=True)

    def live(self, text):
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            print("\r\033[K" + text[:columns - 1], end="", file=sys.stderr, flush=True)
            self._live = True

    def clear(self):
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._live = False


def optional(message, key):
    value = message.get(key)
    return None if value is None else float(value)


def number(message, key):
    """A number of a JSON message; what is zero may be left out."""
    return float(message.get(key, 0))


def steps_of(arguments):
    """Local steps of each site."""
    rounds, optimizer = OPTIMIZERS[arguments.optimizer]
    return (arguments.rounds or rounds) * optimizer.get("local_steps", 1)


def write_run_file(site_federation, name, optimizer_name, rounds, arguments):
    optimizer = OPTIMIZERS[optimizer_name][1]
    warmup = min(optimizer["learning_rate"]["warmup_rounds"], rounds // 4)
    return site_federation.write_yaml(f"{name}.yaml", {
        "name": name,
        "seed": 1,
        "rounds": rounds,
        "model": MODEL,
        "data": {"kind": "text", "batch_size": BATCH_SIZE, "validation_fraction": 0.1},
        "optimizer": federation.merged(optimizer, {"learning_rate": {"warmup_rounds": warmup}}),
        "participation": {"min_workers": arguments.workers, "max_workers": arguments.workers, "quorum": 0.5, "wait_timeout": "2m"},
        "evaluation": {"every": max(1, min(25, rounds // 8)), "batches": 16},
    })


def live_line(status):
    """round 42/300 | loss 2.31 | val 2.40 | 4/4 sites | 12.9 kB/step up, 13.4 kB down | 310x less than dense"""
    spec, last = status["spec"], status.get("last_round", {})
    parts = [f"round {number(status, 'round'):.0f}/{number(spec, 'rounds'):.0f}"]
    if status["state"] != "running":
        parts.append(f"{status['state']}: {status.get('reason', '')}")
    for key, name in (("train_loss", "loss"), ("val_loss", "val")):
        if status.get(key) is not None:
            parts.append(f"{name} {float(status[key]):.3f}")
    sites = status.get("sites", [])
    parts.append(f"{sum(1 for site in sites if site.get('connected'))}/{len(sites)} sites")
    steps = number(last, "members") * max(number(last, "local_steps"), 1)
    if steps and number(last, "round") > 0:
        up, down = number(last, "bytes_up"), number(last, "bytes_down")
        parts.append(f"{human_bytes(up / steps)}/step up, {human_bytes(down / steps)} down")
        if up + down > 0:
            parts.append(f"{human_count(2 * number(last, 'dense_bytes_per_direction') / (up + down))}x less than dense")
    return " | ".join(parts)


def follow(site_federation, run_name, screen):
    """Shows the run until it is over; returns its last status. DemoError if it ends otherwise than finished."""
    watcher = site_federation.watch(run_name)
    lines = queue.Queue()

    def read():
        for line in watcher.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    status = None
    try:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                site_federation.check_alive()
                continue
            if line is None:
                break
            status = json.loads(line)
            screen.live(live_line(status))
    finally:
        if watcher.poll() is None:
            watcher.kill()
        watcher.wait()
    screen.clear()
    status = site_federation.wait_for_end(run_name, timeout=30)
    if status["state"] != "finished":
        raise DemoError(f"the run {status['state']}: {status.get('reason', 'no reason given')}")
    return status


def write_rounds(path, history):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(ROUND_COLUMNS)
        for record in history:
            optional_columns = ("train_loss", "val_loss")
            writer.writerow([record.get(column, "" if column in optional_columns else 0) for column in ROUND_COLUMNS])


def write_curve(path, name, made_by, history):
    """The validation loss by steps and bytes of one site, for `tributary report --baseline`."""
    lines = [f"# name: {name}", f"# Made by: {made_by}. Bytes: of one site, both ways.", "steps\tbytes\tval_loss"]
    steps = moved = 0
    for record in history:
        if number(record, "round") > 0:
            steps += int(number(record, "local_steps"))
            moved += (number(record, "bytes_up") + number(record, "bytes_down")) / number(record, "members")
        if record.get("val_loss") is not None:
            lines.append(f"{steps}\t{moved:.0f}\t{record['val_loss']:.4f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def train_baseline(parties, screen, arguments, path):
    """Trains the same model on the same data for the same steps with AdamW and dense gradients; writes its curve."""
    screen.stage("training the baseline: AdamW, all gradients sent as they are")
    parties.submit(write_run_file(parties, BASELINE_RUN, "allreduce", steps_of(arguments), arguments))
    follow(parties, BASELINE_RUN, screen)
    made_by = f"deploy/demo.sh --workers {arguments.workers} --rounds {steps_of(arguments)} --optimizer allreduce"
    write_curve(path, "AdamW, all-reduce", made_by, parties.history(BASELINE_RUN))


def baseline_of(arguments, work_dir):
    """The curve to compare with, or None: one of other settings would compare nothing."""
    if arguments.baseline:
        return work_dir / "baseline.tsv"
    is_default = arguments.workers == BASELINE_WORKERS and steps_of(arguments) == OPTIMIZERS["allreduce"][0]
    return BASELINE if is_default and arguments.optimizer != "allreduce" else None


def write_report(parties, arguments, work_dir, solo_loss, unigram_loss):
    """Draws report.html with `tributary report`; returns its path."""
    page, baseline = work_dir / "report.html", baseline_of(arguments, work_dir)
    parties.operator("report", RUN, "--output", page, "--level", f"one site alone, same steps={solo_loss}",
                     "--level", f"unigram model={unigram_loss}", "--sample", work_dir / "sample.txt",
                     *(("--baseline", baseline) if baseline else ()))
    return page


def summarise(arguments, status, history, solo_loss, unigram_loss, sample, seconds):
    """The numbers of the run, as summary.json has them. Bytes and steps are per worker."""
    rounds = [record for record in history if number(record, "round") > 0]
    local_steps = int(max(number(rounds[-1], "local_steps"), 1))
    worker_steps = sum(number(record, "members") * max(number(record, "local_steps"), 1) for record in rounds)
    # The first round's bytes include the sessions' start and, where weights are not derived from the seed, the initial state.
    by_round = [number(record, "bytes_up") + number(record, "bytes_down") for record in rounds]
    joining = max(0.0, by_round[0] - statistics.median(by_round))
    total_up, total_down = number(status, "bytes_up_total"), number(status, "bytes_down_total")
    dense = 8 * number(status, "parameters")
    losses = [(number(record, "round"), float(record["val_loss"])) for record in history if record.get("val_loss") is not None]
    up, down = total_up / worker_steps, total_down / worker_steps
    sites = sorted(status.get("sites", []), key=lambda site: (len(site["site"]), site["site"]))
    hashes = {"coordinator": status["state_hash"], **{site["site"]: site.get("state_hash", "") for site in sites}}

    def mean(key):
        return sum(number(record, key) for record in rounds) / len(rounds)

    compute, encode, wait, commit = (mean(key) for key in ("compute_seconds", "encode_seconds", "wait_seconds", "commit_seconds"))
    return {
        "run": RUN,
        "optimizer": arguments.optimizer,
        "workers": arguments.workers,
        "rounds": len(rounds),
        "local_steps": local_steps,
        "parameters": int(number(status, "parameters")),
        "val_loss_first": losses[0][1],
        "val_loss_last": losses[-1][1],
        "solo_val_loss": solo_loss,
        "unigram_val_loss": unigram_loss,
        "bytes_up_per_step": up,
        "bytes_down_per_step": down,
        "bytes_joining_per_step": joining / worker_steps,
        "dense_bytes_per_step": dense,
        "reduction": dense / (up + down),
        "bytes_up_total": int(total_up),
        "bytes_down_total": int(total_down),
        "stragglers": int(sum(number(record, "stragglers") for record in rounds)),
        "hashes": hashes,
        "hashes_equal": len(set(hashes.values())) == 1 and len(hashes["coordinator"]) == 64,
        "round_seconds": {"compute": compute, "encode": encode, "wait and travel": max(0.0, wait - compute - encode), "commit": commit},
        "training_seconds": seconds["training"],
        "phase_seconds": seconds,
        "wall_seconds": sum(seconds.values()),
        "sites": [{"site": site["site"], "included": int(number(site, "updates_included")), "late": int(number(site, "updates_late")),
                   "missed": int(number(site, "rounds_missed")), "bytes_up": int(number(site, "bytes_up")),
                   "bytes_down": int(number(site, "bytes_down"))} for site in sites],
        "sample": sample,
    }


def table(summary):
    """The final table, as text."""
    up, down, dense = summary["bytes_up_per_step"], summary["bytes_down_per_step"], summary["dense_bytes_per_step"]
    rounds = f"{summary['rounds']} rounds of {summary['local_steps']} step" + ("s" if summary["local_steps"] > 1 else "")
    times = summary["round_seconds"]
    rows = [
        ("model", f"{summary['parameters']:,} parameters, optimiser {summary['optimizer']}, {summary['workers']} workers"),
        ("rounds", f"{rounds}, {summary['stragglers']} stragglers"),
        ("validation loss", f"{summary['val_loss_first']:.3f} -> {summary['val_loss_last']:.3f} nats per byte"),
        ("  one worker alone", f"{summary['solo_val_loss']:.3f} (same steps, own shard)"),
        ("  unigram model", f"{summary['unigram_val_loss']:.3f}"),
        ("bytes per step", f"{human_bytes(up)} up, {human_bytes(down)} down, each worker, framing and joining included"),
        ("  dense fp32", f"{human_bytes(dense / 2)} up, {human_bytes(dense / 2)} down"),
        ("  reduction", f"{human_count(summary['reduction'])} x"),
        ("round", ", ".join(f"{name} {human_seconds(seconds)}" for name, seconds in times.items())),
        ("wall time", f"{human_seconds(summary['wall_seconds'])}: "
         + ", ".join(f"{name} {human_seconds(seconds)}" for name, seconds in summary["phase_seconds"].items())),
    ]
    lines = [f"{name:<20} {value}" for name, value in rows]
    lines.append("state hash")
    lines += [f"  {name:<18} {value}" for name, value in summary["hashes"].items()]
    lines.append(f"all {len(summary['hashes'])} hashes equal" if summary["hashes_equal"] else "THE HASHES DIFFER")
    return "\n".join(lines)


def run_worker(parties, *arguments):
    """Standard output of `tributary-worker ARGUMENTS`; its progress goes to this terminal, if there is one. DemoError if it fails."""
    log_path = parties.directory / f"{arguments[0]}.log"
    command = [str(parties.binaries / "tributary-worker"), *map(str, arguments)]
    with open(log_path, "wb") as log:
        terminal = sys.stderr if sys.stderr.isatty() else log
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal, check=False,
                                preexec_fn=federation.bind_to_parent)
    if result.returncode != 0:
        raise DemoError(f"`tributary-worker {arguments[0]}` failed with exit code {result.returncode}: "
                        f"{log_path.read_text(errors='replace').strip()}")
    return result.stdout.decode("utf-8", errors="replace")


def run(arguments, screen):
    work_dir = pathlib.Path(arguments.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    for entry in work_dir.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (work_dir / MARKER).touch()

    seconds = {}
    started = time.monotonic()

    def lap(name):
        nonlocal started
        now = time.monotonic()
        seconds[name] = now - started
        started = now

    sites = [f"site-{index}" for index in range(1, arguments.workers + 1)]
    with federation.Federation(work_dir / "federation", arguments.binaries, sites, name="demo") as parties:
        screen.stage(f"dealing the books out to {len(sites)} sites, making keys")
        data = parties.directory / "data"
        demo_data.write_sites(data, len(sites))
        unigram_loss = demo_data.unigram_loss(data)
        parties.make_pki()
        parties.write_coordinator_config()
        parties.start_coordinator()
        parties.write_operator_config()
        for site in sites:
            parties.write_worker_config(site, data / site, consent={"runs": [RUN, BASELINE_RUN], "models": ["gpt"]})
            parties.start_worker(site)
        rounds = arguments.rounds or OPTIMIZERS[arguments.optimizer][0]
        run_file = write_run_file(parties, RUN, arguments.optimizer, rounds, arguments)
        lap("prepare")

        screen.stage(f"training with {len(sites)} workers (logs: {parties.directory})")
        parties.submit(run_file)
        status = follow(parties, RUN, screen)
        history = parties.history(RUN)
        write_rounds(work_dir / "rounds.csv", history)
        lap("training")

        if arguments.baseline:
            train_baseline(parties, screen, arguments, work_dir / "baseline.tsv")
            lap("baseline")

        screen.stage("exporting the model")
        model = work_dir / "model.safetensors"
        parties.operator("export", RUN, "--output", model)
        sample = run_worker(parties, "sample", "--run", run_file, "--model", model, "--prompt", "And the LORD said", "--bytes", 400).strip()
        (work_dir / "sample.txt").write_text(sample + "\n", encoding="utf-8")
        lap("export")

        screen.stage("training one worker alone on its shard for the same steps")
        solo = run_worker(parties, "solo", "--config", parties.directory / "worker-site-1.yaml", "--run", run_file,
                          *(flag for site in sites for flag in ("--eval-data", data / site)), "--format", "json")
        solo_result = json.loads(solo)
        lap("alone")

        summary = summarise(arguments, status, history, solo_result["val_loss"], unigram_loss, sample, seconds)
        (work_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        page = write_report(parties, arguments, work_dir, solo_result["val_loss"], unigram_loss)
        parties.close()
    if summary["hashes_equal"] and not arguments.keep:
        parties.remove()

    if arguments.format == "json":
        print(json.dumps(summary))
    else:
        print(table(summary))
        print(f"\ntext sampled from the model:\n{sample}\n\nreport: {page}")
    if not summary["hashes_equal"]:
        raise DemoError(f"the state hashes differ; everything is kept in {parties.directory}")


def main():
    arguments = parse_arguments(sys.argv[1:])
    if arguments.check_arguments:
        return 0
    screen = Screen()

    def interrupt(number_, _frame):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # once is enough; the clean-up is bounded
        raise Interrupted(number_)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # nohup means it
            signal.signal(each, interrupt)
    logs = pathlib.Path(arguments.work_dir).resolve() / "federation"
    try:
        run(arguments, screen)
    except Interrupted as error:
        screen.clear()
        print(f"demo: ended by {error}; no process is left; logs: {logs}", file=sys.stderr)
        return 128 + error.number
    except (DemoError, demo_data.DataError, federation.FederationError) as error:
        screen.clear()
        print(f"demo: {error}\ndemo: logs: {logs}", file=sys.stderr)
        return 1
    except OSError as error:
        screen.clear()
        print(f"demo: {error.strerror}: {error.filename}\ndemo: logs: {logs}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
