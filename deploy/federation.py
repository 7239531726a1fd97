"""A federation of processes on this machine: keys, configuration files, coordinator, workers, operator's command.

deploy/demo.py and the tests in tests/e2e/ stand on it. Standard library only.
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_TERMINAL_STATES = ("finished", "failed", "stopped")


class FederationError(Exception):
    """What went wrong and where to look."""


def wait_until(condition, timeout, what):
    """Returns the first true value of `condition()`, which is polled. FederationError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise FederationError(f"gave up after {timeout:.0f} s waiting for {what}")
        pause.wait(0.05)


def to_yaml(value, indent=0):
    """A dict of dicts, lists and scalars as YAML block text."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines.append(f"{pad}{key}:\n{to_yaml(item, indent + 1)}" if item else f"{pad}{key}: {{}}\n")
        elif isinstance(item, (list, tuple)):
            lines.append(f"{pad}{key}: [{', '.join(_scalar(element) for element in item)}]\n")
        else:
            lines.append(f"{pad}{key}: {_scalar(item)}\n")
    return "".join(lines)


def _scalar(value):
    # Plain: words, and numbers with a unit (the configuration reader takes a quoted "30s" for text).
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z][\w.-]*|[0-9.]+[A-Za-z]+", value):
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def merged(base, overrides):
    """`base` with `overrides` laid over it, key by key at every depth; None removes a key."""
    result = dict(base)
    for key, value in overrides.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def bind_to_parent():
    """In the child, before exec: a process group of its own, and death with the parent, even when that is killed."""
    os.setpgid(0, 0)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Process:
    """One program with its standard output and error in a log file."""

    def __init__(self, name, arguments, log_path, prefix=()):
        self.name = name
        self.arguments = [str(argument) for argument in (*prefix, *arguments)]
        self.log_path = pathlib.Path(log_path)
        self._log = open(self.log_path, "ab")
        self.popen = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
                                      preexec_fn=bind_to_parent)

    def running(self):
        return self.popen.poll() is None

    def log_text(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines=8):
        return "\n".join("    " + line for line in self.log_text().splitlines()[-lines:])

    def signal(self, number):
        if self.running():
            os.killpg(self.popen.pid, number)

    def wait(self, timeout):
        """Exit code; FederationError if it runs on."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise FederationError(f"{self.name} did not end within {timeout:.0f} s; log: {self.log_path}") from None
        finally:
            if not self.running():
                self._log.close()

    def stop(self, timeout=30):
        """SIGTERM, and SIGKILL if that does not end it. Returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except FederationError:
            return self.kill()

    def kill(self):
        """kill -9. Returns the exit code."""
        self.signal(signal.SIGKILL)
        return self.wait(10)


class Federation:
    """Keys, configuration and processes of one federation below `directory`.

    Everything is on loopback with ports that the system picks. Use as a context manager: leaving it ends every process.
    """

    def __init__(self, directory, binaries, sites, name="demo", operator="admin"):
        self.directory = pathlib.Path(directory).resolve()
        self.binaries = pathlib.Path(binaries).resolve()
        self.sites = list(sites)
        self.name = name
        self.operator_name = operator
        self.pki = self.directory / "pki"
        self.data_dir = self.directory / "coordinator"
        self.listen = "127.0.0.1:0"
        self.processes = {}
        self.command_prefix = ()  # before the operator's command, to run it elsewhere
        self.operator_flags = ()  # as --insecure
        self.coordinator_flags = ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def tool(self, *arguments, timeout=60, check=True):
        """Runs `tributary` with these arguments as they are. Returns the CompletedProcess; FederationError if it fails and `check`."""
        command = [*self.command_prefix, str(self.binaries / "tributary"), *(str(argument) for argument in arguments)]
        try:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
                                    preexec_fn=bind_to_parent)
        except subprocess.TimeoutExpired:
            raise FederationError(f"`{' '.join(command)}` did not end within {timeout} s") from None
        if check and result.returncode != 0:
            raise FederationError(f"`{' '.join(command)}` failed with exit code {result.returncode}:\n{result.stderr.strip()}")
        return result

    def make_pki(self, hosts=("127.0.0.1", "localhost")):
        """A throwaway authority and one certificate for each party; the coordinator's is good for `hosts`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.tool("pki", "init", self.pki, "--federation", self.name)
        self.tool("pki", "issue", self.pki, "--coordinator", *(flag for host in hosts for flag in ("--host", host)))
        for site in self.sites:
            self.tool("pki", "issue", self.pki, "--site", site)
        self.tool("pki", "issue", self.pki, "--operator", self.operator_name)

    def tls(self, stem):
        return {"ca": str(self.pki / "ca.crt"), "certificate": str(self.pki / f"{stem}.crt"), "key": str(self.pki / f"{stem}.key")}

    def write_yaml(self, file_name, value):
        path = self.directory / file_name
        path.write_text(to_yaml(value), encoding="utf-8")
        return path

    def write_coordinator_config(self, **overrides):
        config = {
            "federation": self.name,
            "data_dir": str(self.data_dir),
            "listen": self.listen,
            "health_listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "tls": self.tls("coordinator"),
            "sites": self.sites,
            "operators": [self.operator_name],
        }
        return self.write_yaml("coordinator.yaml", merged(config, overrides))

    def write_worker_config(self, site, data, **overrides):
        config = {
            "federation": self.name,
            "site": site,
            "coordinator": self.address(),
            "tls": self.tls(f"site-{site}"),
            "data": str(data),
            "state_dir": str(self.directory / f"state-{site}"),
            "threads": 1,
            "max_backoff": "2s",
            # On this machine nobody's data is at stake: small batches keep trials quick.
            "consent": {"runs": ["*"], "models": ["gpt", "mlp"], "min_batch_size": 1, "min_samples": 1, "allow_small_gradients": True},
        }
        return self.write_yaml(f"worker-{site}.yaml", merged(config, overrides))

    def start(self, name, *arguments, prefix=()):
        """Starts a program; its log is NAME.log, appended to when it is started again."""
        process = Process(name, [self.binaries / arguments[0], *arguments[1:]], self.directory / f"{name}.log", prefix)
        self.processes[name] = process
        return process

    def start_coordinator(self, *flags, timeout=30, config="coordinator.yaml", prefix=()):
        """Starts the coordinator and waits until it serves."""
        endpoints = self.data_dir / "endpoints.json"
        endpoints.unlink(missing_ok=True)  # left by one that was killed
        process = self.start("coordinator", "tributary-coordinator", "--config", self.directory / config, *self.coordinator_flags,
                             *flags, prefix=prefix)

        def serves():
            if not process.running():
                raise FederationError(f"the coordinator ended with exit code {process.wait(1)}:\n{process.log_tail()}")
            return endpoints.exists()

        wait_until(serves, timeout, f"the coordinator to serve (log: {process.log_path})")
        return process

    def endpoints(self):
        """{"listen": ..., "health": ..., "metrics": ...}, each host:port."""
        return json.loads((self.data_dir / "endpoints.json").read_text(encoding="utf-8"))

    def address(self):
        return self.endpoints()["listen"]

    def start_worker(self, site, *flags, prefix=()):
        return self.start(f"worker-{site}", "tributary-worker", "run", "--config", self.directory / f"worker-{site}.yaml", *flags,
                          prefix=prefix)

    def close(self, timeout=10):
        """Ends every process: SIGTERM to the workers, then to the coordinator, SIGKILL to what does not end in `timeout` seconds."""
        running = sorted((process for process in self.processes.values() if process.running()),
                         key=lambda process: process.name == "coordinator")
        try:
            for process in running:
                if process.name != "coordinator":
                    process.signal(signal.SIGTERM)
            deadline = time.monotonic() + timeout
            for process in running:
                if process.name == "coordinator":
                    process.signal(signal.SIGTERM)
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except FederationError:
                    process.kill()
        finally:
            for process in running:
                if process.running():
                    process.kill()

    def check_alive(self):
        """FederationError with the end of its log if a process has ended."""
        for process in self.processes.values():
            if not process.running():
                raise FederationError(f"{process.name} ended with exit code {process.wait(1)}; "
                                      f"log: {process.log_path}\n{process.log_tail()}")

    def write_operator_config(self, **overrides):
        """operator.yaml with the address that the coordinator has now."""
        config = {"federation": self.name, "coordinator": self.address(), "tls": self.tls(f"operator-{self.operator_name}")}
        return self.write_yaml("operator.yaml", merged(config, overrides))

    def operator(self, *arguments, timeout=60):
        """Runs `tributary ARGUMENTS` against the coordinator and returns its JSON."""
        result = self.tool("--config", self.directory / "operator.yaml", *self.operator_flags, "--format", "json", *arguments,
                           timeout=timeout)
        return json.loads(result.stdout)

    def submit(self, run_file):
        return self.operator("run", "submit", run_file)

    def status(self, run):
        return self.operator("run", "status", run)

    def history(self, run):
        return self.operator("run", "history", run)["rounds"]

    def watch(self, run):
        """Popen of `tributary run watch`, one JSON status a line on its standard output."""
        log = open(self.directory / "watch.log", "ab")
        command = [*self.command_prefix, str(self.binaries / "tributary"), "--config", str(self.directory / "operator.yaml"),
                   "--format", "json", "run", "watch", run]
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                                 preexec_fn=bind_to_parent)
        log.close()
        return popen

    def wait_for_round(self, run, number, timeout):
        """Waits until round `number` of the run is committed. FederationError if the run ends badly first."""

        def committed():
            status = self.status(run)
            if status["state"] in ("failed", "stopped"):
                raise FederationError(f"run {run} {status['state']}: {status.get('reason', '')}")
            return status if int(status.get("round", 0)) >= number else None

        return wait_until(committed, timeout, f"round {number} of run {run}")

    def wait_for_end(self, run, timeout):
        """The status of the run once it is over."""
        return wait_until(lambda: self._ended(run), timeout, f"the end of run {run}")

    def _ended(self, run):
        status = self.status(run)
        return status if status["state"] in _TERMINAL_STATES else None

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)
