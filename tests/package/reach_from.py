"""A worker inside another system's root folder reaches a coordinator outside, by name and over TLS, and trains a run to its end.

Usage: reach_from.py BIN_DIR ROOT    (as root; ROOT has tributary-worker on its path)
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

_ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tests" / "e2e"))
sys.dont_write_bytecode = True

import harness  # noqa: E402  (found through the line above)

_NAME = "coordinator.example"


def trains(parties, root, resolver):
    """Whether a run ends well with gRPC's own resolver ("ares") or that of the packed C library ("native")."""
    run = f"by-{resolver}"
    parties.submit(parties.write_yaml(f"{run}.yaml", harness.run_spec(name=run, rounds=4)))
    worker = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount", f"--mount-proc={root}/proc", "chroot", str(root), "env", "-i",
         "PATH=/usr/local/bin:/usr/bin:/bin", f"GRPC_DNS_RESOLVER={resolver}", "tributary-worker", "run", "--once", "--connect-timeout",
         "30s", "--config", "/srv/site/worker.yaml"], capture_output=True, text=True, check=False, timeout=120)
    if worker.returncode != 0:
        print(worker.stderr[-2000:])
        return False
    state = parties.wait_for_end(run, timeout=30)["state"]
    print(f"{_NAME}, resolved by {resolver}: the run is {state}")
    return state == "finished"


def main(binaries, root):
    root = pathlib.Path(root)
    with tempfile.TemporaryDirectory() as folder:
        parties = harness.federation.Federation(pathlib.Path(folder) / "f", pathlib.Path(binaries), ["alpha"], name="packed")
        try:
            parties.make_pki(hosts=(_NAME, "localhost", "127.0.0.1"))
            parties.write_coordinator_config()
            parties.start_coordinator()
            parties.write_operator_config()
            (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {_NAME}\n", encoding="utf-8")
            home = root / "srv" / "site"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(parties.directory / "pki", home / "pki")
            harness.write_text(home / "data", seed=1)
            (home / "worker.yaml").write_text(
                f"federation: packed\nsite: alpha\ncoordinator: {_NAME}:{parties.address().rsplit(':', 1)[1]}\ndata: data\n"
                "state_dir: state\nconsent: {runs: ['*'], models: [gpt], min_batch_size: 1, min_samples: 1}\n"
                "tls: {ca: pki/ca.crt, certificate: pki/site-alpha.crt, key: pki/site-alpha.key}\n", encoding="utf-8")
            return 1 if [resolver for resolver in ("ares", "native") if not trains(parties, root, resolver)] else 0
        finally:
            parties.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
