"""Flower and NVFlare, as the Python index has them, doing what rounds.py measures: averaging a model of so many fp32 over so many sites.

Their clients train nothing: they send the model back, changed a little. Both talk over loopback, without TLS, which favours them. Each is
installed into a virtual environment that is thrown away. What cannot be installed or run is reported as skipped, with the reason.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
from datetime import datetime

VERSIONS = {"flower": "flwr==1.23.*", "nvflare": "nvflare==2.*"}
_INSTALL_SECONDS = 900
_HERE = pathlib.Path(__file__).resolve().parent


class Skipped(Exception):
    """Why a peer was not measured."""


def run(command, timeout, **options):
    try:
        result = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=timeout, check=False, **options)
    except subprocess.TimeoutExpired:
        raise Skipped(f"`{' '.join(map(str, command[:4]))} ...` did not end within {timeout} s") from None
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise Skipped(f"`{' '.join(map(str, command[:4]))} ...` failed: {lines[-1] if lines else 'it says nothing'}")
    return result.stdout


def install(folder, package):
    run([sys.executable, "-m", "venv", folder], 120)
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", package, "numpy"], _INSTALL_SECONDS)
    return python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def flower(python, folder, parameters, sites, rounds):
    script = _HERE / "rounds_flower.py"
    address = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}
    clients = [subprocess.Popen([python, script, "client", address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env=environment) for _ in range(sites)]
    try:
        out = run([python, script, "server", address, str(parameters), str(sites), str(rounds)], 300 + 120 * rounds, cwd=folder,
                  env=environment)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    return json.loads(out.splitlines()[-1])


def nvflare(python, folder, parameters, sites, rounds):
    run([python, _HERE / "rounds_nvflare.py", folder, str(parameters), str(sites), str(rounds)], 300 + 120 * rounds, cwd=folder)
    stamps = {}
    for log in folder.rglob("log*.txt"):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            stamp = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+)", line)
            for word, pattern in (("first", r"Round 0 started"), ("last", r"Finished FedAvg")):
                if stamp and re.search(pattern, line):
                    stamps.setdefault(word, datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S,%f"))
    if len(stamps) != 2:
        raise Skipped("its log does not say when rounds began and ended")
    return {"seconds_a_round": (stamps["last"] - stamps["first"]).total_seconds() / rounds}


def measure(parameters, sites, rounds):
    """{name: figures, or {"skipped": reason}}."""
    found = {}
    for name, peer in (("flower", flower), ("nvflare", nvflare)):
        with tempfile.TemporaryDirectory(prefix=f"tributary-{name}-") as folder:
            folder = pathlib.Path(folder)
            try:
                python = install(folder / "venv", VERSIONS[name])
                (folder / "work").mkdir()
                found[name] = peer(python, folder / "work", parameters, sites, rounds)
            except Skipped as reason:
                found[name] = {"skipped": str(reason)}
    return found
