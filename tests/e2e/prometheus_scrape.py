"""A real Prometheus scrapes a coordinator and a worker, finds the metrics of docs/reference/metrics.md, and takes our alerts."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

import harness

RULES = harness.ROOT / "deploy" / "prometheus"


def program(name):
    unpacked = harness.ROOT / "build" / "tools" / "usr" / "bin" / name
    return shutil.which(name) or (str(unpacked) if unpacked.exists() else None)


PROMETHEUS = program("prometheus")
PROMTOOL = program("promtool")

# PromQL -> whether its value must be above zero once a run is over.
COORDINATOR = {
    f'tributary_run_info{{run="{harness.RUN}",state="finished"}}': True,
    'tributary_runs_total{outcome="finished"}': True,
    "tributary_disk_free_bytes": True,
    "tributary_memory_resident_bytes": True,
    "tributary_memory_limit_bytes": True,
    "tributary_round": True,
    'tributary_rounds_total{outcome="committed"}': True,
    "tributary_round_duration_seconds_count": True,
    'tributary_round_phase_seconds_count{phase="journal"}': True,
    'tributary_sessions{state="ready"}': False,
    'tributary_site_up{site="alpha"}': True,
    'tributary_site_last_seen_timestamp_seconds{site="alpha"}': True,
    'tributary_updates_total{site="alpha",result="included"}': True,
    'tributary_update_rejections_total{reason="invalid"}': False,
    'tributary_bytes_total{site="alpha",direction="up",kind="update"}': True,
    'tributary_bytes_total{site="alpha",direction="down",kind="commit"}': True,
    'tributary_bytes_total{site="alpha",direction="down",kind="snapshot"}': False,
    'tributary_bytes_total{site="alpha",direction="up",kind="control"}': True,
    'tributary_bytes_per_step_count{direction="up"}': True,
    'tributary_dense_equivalent_bytes_total{direction="up"}': True,
    "tributary_compression_ratio": True,
    'tributary_loss{split="train"}': True,
    'tributary_loss{split="validation"}': True,
    "tributary_journal_fsync_seconds_count": True,
    "tributary_snapshot_timestamp_seconds": True,
    "tributary_disk_forecast_bytes": False,
    "tributary_replica_hash_mismatches_total": False,
    'tributary_certificate_expiry_timestamp_seconds{party="coordinator"}': True,
    'tributary_certificate_expiry_timestamp_seconds{party="site/alpha"}': True,
    "tributary_certificate_files_refused": False,
    "tributary_build_info": True,
    # The reduction is one division.
    "sum(tributary_dense_equivalent_bytes_total) / sum(tributary_bytes_total)": True,
}
WORKER = {
    'tributary_worker_step_seconds_count{phase="compute"}': True,
    "tributary_worker_samples_total": True,
    "tributary_worker_disk_free_bytes": True,
    "tributary_worker_memory_resident_bytes": True,
    "tributary_worker_certificate_expiry_timestamp_seconds": True,
    "tributary_worker_certificate_files_refused": False,
    "tributary_worker_residual_norm": True,
    'tributary_worker_bytes_total{direction="up",kind="update"}': True,
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipIf(PROMETHEUS is None, "no prometheus program: bash deploy/install-deps.sh --tests")
class PrometheusScrape(harness.FederationTest):
    def query(self, address, expression):
        """[(labels, value)] of an instant query; empty while Prometheus is not up."""
        url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return [(entry["metric"], float(entry["value"][1])) for entry in json.load(answer)["data"]["result"]]
        except (urllib.error.URLError, ConnectionError):
            return []

    def test_every_metric_of_the_design_can_be_queried(self):
        parties = self.make("alpha", "beta")
        worker_page = f"127.0.0.1:{free_port()}"
        parties.start_coordinator()
        parties.write_operator_config()
        parties.write_worker_config("alpha", parties.directory / "data" / "alpha", metrics_listen=worker_page)
        parties.write_worker_config("beta", parties.directory / "data" / "beta")
        for site in parties.sites:
            parties.start_worker(site)

        config = parties.directory / "prometheus.yml"
        config.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: ['{RULES}/*.yaml']\n"
                          "scrape_configs:\n"
                          f"- {{job_name: coordinator, static_configs: [{{targets: ['{parties.endpoints()['metrics']}']}}]}}\n"
                          f"- {{job_name: worker, static_configs: [{{targets: ['{worker_page}']}}]}}\n", encoding="utf-8")
        address = f"127.0.0.1:{free_port()}"
        parties.processes["prometheus"] = harness.federation.Process(
            "prometheus", [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={parties.directory / 'tsdb'}",
                           f"--web.listen-address={address}", "--log.level=warn"], parties.directory / "prometheus.log")

        self.submit(parties, rounds=12, participation={"min_workers": 2})
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=12)

        for job, expressions in (("coordinator", COORDINATOR), ("worker", WORKER)):
            for expression, positive in expressions.items():
                with self.subTest(job=job, expression=expression):
                    def answered(expression=expression, positive=positive, job=job):
                        values = [value for labels, value in self.query(address, expression) if labels.get("job", job) == job]
                        return bool(values) and (not positive or max(values) > 0)
                    harness.federation.wait_until(answered, 20, f"{job}: {expression}")

        rounds = self.query(address, "tributary_round")
        self.assertEqual([value for _, value in rounds], [12.0])

        def alerts():
            with urllib.request.urlopen(f"http://{address}/api/v1/rules", timeout=5) as answer:
                return {rule["name"]: (rule["health"], rule["state"]) for group in json.load(answer)["data"]["groups"]
                        for rule in group["rules"] if rule["type"] == "alerting"}
        # The first evaluation comes before the first scrape.
        harness.federation.wait_until(lambda: set(alerts().values()) == {("ok", "inactive")}, 20, f"quiet alerts: {alerts()}")
        self.assertIn("TributaryReplicaDiffers", alerts())


@unittest.skipIf(PROMTOOL is None, "no promtool: bash deploy/install-deps.sh --tests")
class Rules(unittest.TestCase):
    def check(self, name):
        """`promtool test rules` of tests/e2e/NAME_test.yaml against deploy/prometheus/NAME.yaml."""
        text = (harness.ROOT / "tests" / "e2e" / f"{name}_test.yaml").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            rules_test = pathlib.Path(folder) / f"{name}_test.yaml"
            rules_test.write_text(text.replace(name.upper(), str(RULES / f"{name}.yaml")), encoding="utf-8")
            result = subprocess.run([PROMTOOL, "test", "rules", rules_test], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return text

    def test_each_alert_fires_when_it_should_and_not_otherwise(self):
        text = self.check("alerts")
        cases = re.findall(r"alertname: (\w+)\W+exp_alerts:(.*)", text)
        for name in re.findall(r"- alert: (\w+)", (RULES / "alerts.yaml").read_text(encoding="utf-8")):
            quiet = {"[]" in expected for tested, expected in cases if tested == name}
            self.assertEqual(quiet, {True, False}, f"{name}: when it fires, and when it does not")

    def test_the_recorded_series_have_the_right_values(self):
        self.check("recording")


if __name__ == "__main__":
    harness.main()
