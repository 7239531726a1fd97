"""Draws docs/images/status-coordinator.png and status-worker.png: three sites train for a while, and a browser takes the status pages.

    TRIBUTARY_BIN=build/release/bin python3 tests/e2e/status_pictures.py [FOLDER]

Needs chromium.
"""

import pathlib
import subprocess
import sys
import tempfile

import harness

_ROUNDS = 400
_WIDTH = 1080
_SPEC = {"name": "words", "rounds": 2000, "participation": {"min_workers": 2}, "evaluation": {"every": 20, "batches": 2}}


def take(address, height, path):
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
                        f"--window-size={_WIDTH},{height}", f"--screenshot={path}", f"http://{address}/"], check=True,
                       stderr=subprocess.DEVNULL, timeout=120)


def main(folder):
    folder = pathlib.Path(folder).resolve()
    with tempfile.TemporaryDirectory() as place:
        sites = ["berlin", "lyon", "oslo"]
        with harness.federation.Federation(pathlib.Path(place) / "f", harness.BINARIES, sites, name="hospitals") as parties:
            parties.make_pki()
            parties.write_coordinator_config(status_listen="127.0.0.1:0")
            parties.start_coordinator()
            parties.write_operator_config()
            for seed, site in enumerate(parties.sites):
                data = parties.directory / "data" / site
                harness.write_text(data, seed)
                parties.write_worker_config(site, data, status_listen="127.0.0.1:0", quiet_hours=["12:00-13:00"],
                                            consent={"runs": ["words*"], "models": ["gpt"], "max_local_steps": 50})
                parties.start_worker(site)
            parties.submit(parties.write_yaml("run.yaml", harness.run_spec(**_SPEC)))
            parties.wait_for_round("words", _ROUNDS, timeout=300)
            parties.processes["worker-oslo"].stop()
            parties.wait_for_round("words", _ROUNDS + 100, timeout=300)
            take(parties.endpoints()["status"], 1440, folder / "status-coordinator.png")
            log = parties.processes["worker-berlin"].log_text()
            take(log.split("status page at http://")[1].split()[0], 900, folder / "status-worker.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else harness.ROOT / "docs" / "images")
