"""Fine-tunes SmolLM2-135M at two sites on this machine, after prepare.py; once more goes on where it was stopped (Ctrl-C).

  python3 deploy/smollm2/train.py [--dense] [--work-dir DIR]

Says what the run came to: losses, bytes against dense fp32, seconds a round, and the most memory that each program took since this
start. Takes some 20 GiB of memory and 10 GiB of disk.
"""

import argparse
import pathlib
import re
import shutil
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))

import demo  # noqa: E402
import federation  # noqa: E402

SITES = ("site-1", "site-2")
SAVING_SECONDS = 300  # a worker ends its step and writes gigabytes of state


def initial_weights(parties, work_dir):
    """As fp32, under the names of run.yaml, where the coordinator looks for them."""
    target = parties.data_dir / "initial_weights" / "smollm2.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    parties.tool("model", "from-huggingface", work_dir / "huggingface", "--context", 128, "--output", target, timeout=600)


def begin(parties, work_dir):
    parties.make_pki()
    initial_weights(parties, work_dir)
    parties.write_coordinator_config()


def peak_memory(process):
    """Bytes."""
    status = pathlib.Path(f"/proc/{process.popen.pid}/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def tell(status, history, peaks):
    number = demo.number
    rounds = [record for record in history if number(record, "round") > 0]
    steps = sum(number(record, "members") * number(record, "local_steps") for record in rounds)
    # Before the first commit there is nothing to fetch but the initial weights: told apart, as the rounds of a long run are many.
    joining = number(rounds[0], "bytes_down")
    up = sum(number(record, "bytes_up") for record in rounds) / steps
    down = (sum(number(record, "bytes_down") for record in rounds) - joining) / steps
    dense = 4 * number(status, "parameters")
    losses = [(int(number(record, "round")), float(record["val_loss"])) for record in history if "val_loss" in record]
    hashes = {status["state_hash"], *(site.get("state_hash", "") for site in status["sites"])}
    print(f"{int(number(status, 'parameters')):,} parameters, {len(rounds)} rounds of {int(number(rounds[-1], 'local_steps'))} steps at "
          f"{len(SITES)} sites")
    print("validation loss, nats a token: " + ", ".join(f"{loss:.4f} after round {number}" for number, loss in losses))
    print(f"bytes of one site, a step: {demo.human_bytes(up)} up, {demo.human_bytes(down)} down; dense fp32: {demo.human_bytes(dense)} "
          f"each way, {demo.human_count(2 * dense / (up + down))} times as many")
    print(f"joining: {demo.human_bytes(joining / len(SITES))} a site, once")
    for name in ("duration", "compute_seconds", "encode_seconds", "commit_seconds"):
        print(f"{name}: {statistics.median(number(record, name) for record in rounds):.1f} s a round (median)")
    for name, peak in peaks.items():
        print(f"peak memory of {name} since this start: {peak / 2**30:.2f} GiB")
    print("all state hashes equal" if len(hashes) == 1 else f"THE STATE HASHES DIFFER: {sorted(hashes)}")


def train(arguments, screen):
    run = "smollm2-dense" if arguments.dense else "smollm2"
    work_dir = arguments.work_dir.resolve()
    if not (work_dir / "tokens" / SITES[0]).is_dir():
        sys.exit(f"train.py: {work_dir} has no tokens; run deploy/smollm2/prepare.py first")
    parties = federation.Federation(work_dir / "federation", arguments.binaries, SITES, name="smollm2")
    try:
        if not (parties.directory / "coordinator.yaml").exists():
            shutil.rmtree(parties.directory, ignore_errors=True)
            begin(parties, work_dir)
        parties.start_coordinator(timeout=600)
        parties.write_operator_config()
        for site in SITES:
            parties.write_worker_config(site, work_dir / "tokens" / site, consent={"runs": ["smollm2*"], "models": ["llama"]})
            parties.start_worker(site)
        if run not in {known["spec"]["name"] for known in parties.operator("run", "list").get("runs", [])}:
            file_name = "run-dense.yaml" if arguments.dense else "run.yaml"
            parties.operator("run", "submit", pathlib.Path(__file__).resolve().parent / file_name, timeout=600)
        screen.stage(f"training (logs: {parties.directory}; Ctrl-C stops it, and the same command goes on)")
        status = demo.follow(parties, run, screen)
        tell(status, parties.history(run), {name: peak_memory(process) for name, process in parties.processes.items()})
        parties.operator("export", run, "--huggingface", work_dir / f"trained-{run}", timeout=600)
        print(f"{work_dir / f'trained-{run}'}: the model, for `transformers`")
    finally:
        screen.stage("ending the programs, which save what they have")
        parties.close(timeout=SAVING_SECONDS)


def main():
    parser = argparse.ArgumentParser(description="Fine-tunes SmolLM2-135M at two sites on this machine.")
    parser.add_argument("--work-dir", type=pathlib.Path, default=ROOT / "build" / "smollm2", metavar="DIR")
    parser.add_argument("--dense", action="store_true", help="run-dense.yaml instead: updates that travel whole, to compare with")
    parser.add_argument("--binaries", default=str(ROOT / "build" / "release" / "bin"), help=argparse.SUPPRESS)
    try:
        train(parser.parse_args(), demo.Screen())
    except KeyboardInterrupt:
        sys.exit(130)
    except (federation.FederationError, demo.DemoError) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
