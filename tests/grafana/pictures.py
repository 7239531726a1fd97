"""Draws docs/images/grafana-*.png: a federation of three sites trains for two minutes under a real Prometheus, one of them goes away and
comes back, and each dashboard is drawn from what was scraped.

    TRIBUTARY_BIN=build/release/bin python3 tests/grafana/pictures.py [FOLDER]

Needs Prometheus (deploy/install-deps.sh --tests), python3-matplotlib and python3-pil.
"""

import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
sys.dont_write_bytecode = True

import draw  # noqa: E402
import harness  # noqa: E402
import scrape  # noqa: E402

SECONDS = int(os.environ.get("PICTURE_SECONDS", "120"))
RUN = "words"
SPEC = {"name": RUN, "rounds": 100_000, "participation": {"min_workers": 2, "min_deadline": "1s"},
        "evaluation": {"every": 20, "batches": 2},
        "model": {"gpt": {"layers": 2, "heads": 4, "width": 128, "context": 32}},
        "optimizer": {"k": 8, "learning_rate": {"peak": 0.002}}}


def train(parties, began):
    """SECONDS of a run; the last site is away for a quarter of them."""
    def reach(share):
        harness.federation.wait_until(lambda: time.time() >= began + share * SECONDS, SECONDS, "the next event")

    parties.submit(parties.write_yaml("run.yaml", harness.run_spec(**SPEC)))
    site = parties.sites[-1]
    reach(0.45)
    parties.processes[f"worker-{site}"].stop()
    reach(0.7)
    parties.start_worker(site)
    reach(1)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as scratch:
        parties = harness.federation.Federation(pathlib.Path(scratch) / "federation", harness.BINARIES, ("berlin", "lyon", "oslo"),
                                                name="pictures")
        with parties:
            parties.make_pki()
            for index, site in enumerate(parties.sites):
                harness.write_text(parties.directory / "data" / site, seed=index)
            parties.listen = f"127.0.0.1:{harness.lasting_port()}"
            parties.write_coordinator_config()
            prometheus, _ = scrape.start(parties)
            began = time.time()
            train(parties, began)
            ended = time.time() - 1
            for name, dashboard in scrape.dashboards().items():
                variables = {"window": "15s", "__rate_interval": "5s", "__range": f"{int(ended - began)}s"}
                for variable, selector, label in scrape.variable_queries(dashboard):
                    variables[variable] = prometheus.label_values(scrape.filled(selector, variables), label)[-1]
                path = folder / f"grafana-{name}.png"
                draw.Board(prometheus, dashboard, variables, began, ended).draw(path)
                print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
