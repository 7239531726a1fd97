"""Disks that are full, and a restart with a large model."""

import ctypes
import os
import subprocess

import harness
from harness import federation

from chaos_kit import Mismatch, Skip, need_root, restart_figures

SITES = ("alpha", "beta")
_CLONE_NEWNS = 0x00020000


def _mount(chaos, folder, size):
    """A disk of `size` at `folder`, in a mount namespace of this process: it ends with it, however it ends."""
    need_root("mounts a small disk")
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise Skip(f"a mount namespace is not permitted here: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    chaos.cleanups.append(lambda: subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False))


def _fill(folder):
    """Takes all the space that is left; returns the file that holds it."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def _expect_storage_exit(process, log):
    code = process.wait(60)
    if code != harness.EXIT_STORAGE:
        raise Mismatch(f"{process.name} ended with exit code {code} on a full disk, not {harness.EXIT_STORAGE}")
    found = log.find(r"ERROR.*(full|No space left).*(free|make) some (space|room)")
    if not found:
        raise Mismatch(f"{process.name} does not say what to do about a full disk:\n{process.log_tail(3)}")
    return found[1].string.split(" ", 3)[-1]


def full_disk_coordinator(chaos):
    """The coordinator's disk fills up in mid-run: exit code 7 and what to do; after making room the run goes on to the same model."""
    spec = chaos.spec(SITES, rounds=200)
    expected = chaos.reference(SITES, spec)
    parties = chaos.make(*SITES)
    _mount(chaos, parties.data_dir, "16m")
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    log.wait("round 10 committed", 60)
    log.mark()
    ballast = _fill(parties.data_dir)
    message = _expect_storage_exit(parties.processes["coordinator"], log)
    ballast.unlink()
    parties.start_coordinator()
    chaos.compare(chaos.finish(parties, spec, timeout=120), expected, "after a full disk")
    return {"message": message}


def full_disk_worker(chaos):
    """The same with a worker's state_dir."""
    spec = chaos.spec(SITES, rounds=200)
    expected = chaos.reference(SITES, spec)
    parties = chaos.make(*SITES)
    state = parties.directory / "state-alpha"
    _mount(chaos, state, "4m")
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    log.wait("round 10 committed", 60)
    worker = parties.processes["worker-alpha"]
    ballast = _fill(state)
    message = _expect_storage_exit(worker, chaos.log_of(worker))
    ballast.unlink()
    parties.start_worker("alpha")
    chaos.compare(chaos.finish(parties, spec, timeout=120), expected, "after a worker's full disk")
    return {"message": message}


def restart_of_a_large_run(chaos):
    """kill -9 of the coordinator of a run with 25 million parameters: seconds until it serves, has a session, has a round."""
    spec = chaos.spec(SITES, rounds=16, model={"gpt": {"layers": 8, "heads": 8, "width": 512, "context": 8}}, data={"batch_size": 1},
                      optimizer={"k": 8}, evaluation={"every": 100, "batches": 1})
    expected = chaos.reference(SITES, spec)
    parties = chaos.make(*SITES)
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    parameters = int(parties.status(harness.RUN)["parameters"])
    measured = []
    for after in (2, 5, 8, 11, 14):
        federation.wait_until(lambda: log.find(rf"round {after} committed"), 240, f"round {after}")
        chaos.kill_coordinator(parties)
        measured.append(chaos.restart_seconds(chaos.restart_coordinator(parties), timeout=120))
    chaos.compare(chaos.finish(parties, spec, timeout=240), expected, "after the restarts")
    return {"parameters": parameters, **restart_figures(measured)}
