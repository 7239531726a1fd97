"""A real Prometheus scrapes a federation: it finds the metrics of docs/reference/metrics.md, every panel of the dashboards and every
recording rule has data, and the alerts are quiet."""

import pathlib
import re
import subprocess
import tempfile
import unittest

import harness
import scrape

# PromQL -> whether its value must be above zero once a run is over.
COORDINATOR = {
    f'tributary_run_info{{run="{harness.RUN}",state="finished"}}': True,
    f'tributary_run_site{{run="{harness.RUN}",site="alpha"}}': True,
    'tributary_runs_total{outcome="finished"}': True,
    "tributary_disk_free_bytes": True,
    "tributary_memory_resident_bytes": True,
    "tributary_memory_limit_bytes": True,
    f'tributary_round{{run="{harness.RUN}"}}': True,
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
    f'tributary_compression_ratio{{run="{harness.RUN}"}}': True,
    f'tributary_loss{{run="{harness.RUN}",split="train"}}': True,
    f'tributary_loss{{run="{harness.RUN}",split="validation"}}': True,
    "tributary_journal_fsync_seconds_count": True,
    "tributary_snapshot_timestamp_seconds": True,
    "tributary_disk_forecast_bytes": False,
    "tributary_replica_hash_mismatches_total": False,
    'tributary_certificate_expiry_timestamp_seconds{party="coordinator"}': True,
    'tributary_certificate_expiry_timestamp_seconds{party="site/alpha"}': True,
    "tributary_certificate_files_refused": False,
    "tributary_connections": True,
    'tributary_connections_refused_total{reason="handshake"}': False,
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

# Alerts whose expression has no data in any part while all is well -> why.
WITHOUT_DATA = {
    "TributaryCoordinatorDown": "it asks for the absence of what is there",
    "TributaryRunWaits": "the run is not waiting; tributary_run_info is asked for above",
}


@unittest.skipIf(scrape.PROMETHEUS is None, scrape.MISSING)
class PrometheusScrape(harness.FederationTest):
    def test_metrics_panels_and_rules_have_data_after_a_run(self):
        parties = self.make("alpha", "beta")
        prometheus, pages = scrape.start(parties)
        self.submit(parties, rounds=12, participation={"min_workers": 2},
                    evaluation={"every": 4, "batches": 2, "metrics": ["accuracy", "perplexity"]})
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=12)
        settled = " and on () ".join(['tributary_run_info{state="finished"}', "(tributary_round == 12)",
                                      "(count(tributary_worker_round == 12) == 2)"])
        harness.federation.wait_until(lambda: prometheus.query(settled), 20, "the last round's scrape")

        for job, expressions in (("coordinator", COORDINATOR), ("worker", WORKER)):
            for expression, positive in expressions.items():
                with self.subTest(job=job, expression=expression):
                    values = [value for labels, value in prometheus.query(expression) if labels.get("job", job) == job]
                    self.assertTrue(values and (not positive or max(values) > 0), values)
        self.check_panels(prometheus, pages)
        self.check_rules(prometheus)

    def check_panels(self, prometheus, pages):
        dashboards = scrape.dashboards()
        self.assertEqual(set(dashboards), {"federation", "run", "site"})
        for name, dashboard in dashboards.items():
            variables = {"window": "1m", "__rate_interval": "1m", "__range": "1m"}
            for variable, selector, label in scrape.variable_queries(dashboard):
                variables[variable] = prometheus.label_values(scrape.filled(selector, variables), label)[0]
            expected = {"job": "coordinator", "run": harness.RUN, "site": "alpha", "worker": pages["alpha"]}
            for variable, value in expected.items():
                self.assertEqual(variables.get(variable, value), value)
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    with self.subTest(dashboard=name, panel=panel["title"], expression=target["expr"]):
                        values = [value for _, value in prometheus.query(scrape.filled(target["expr"], variables))]
                        self.assertTrue(values, "no data")
                        self.assertTrue(any(value == value for value in values), "not a number")

    def check_rules(self, prometheus):
        def recorded():
            return all(prometheus.query(rule["name"]) for rule in prometheus.rules("recording"))
        # Evaluations come after scrapes, and the first before the first.
        harness.federation.wait_until(recorded, 20, "data for every recording rule")

        def alerts():
            return {rule["name"]: (rule["health"], rule["state"]) for rule in prometheus.rules("alerting")}
        harness.federation.wait_until(lambda: set(alerts().values()) == {("ok", "inactive")}, 20, f"quiet alerts: {alerts()}")
        for rule in prometheus.rules("alerting"):
            # A comparison that is false has no data; each side of it has.
            sides = [] if rule["name"] in WITHOUT_DATA else re.split(r" (?:or|[<>=]=?) ", rule["query"].replace("\n", " "))
            for side in sides:
                if not re.fullmatch(r"[\d.e+]+", side.strip()):
                    with self.subTest(alert=rule["name"], expression=side):
                        self.assertTrue(prometheus.query(side), "no data")


@unittest.skipIf(scrape.PROMTOOL is None, scrape.MISSING)
class Rules(unittest.TestCase):
    def check(self, name):
        """`promtool test rules` of tests/e2e/NAME_test.yaml against deploy/prometheus/NAME.yaml."""
        text = (harness.ROOT / "tests" / "e2e" / f"{name}_test.yaml").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            rules_test = pathlib.Path(folder) / f"{name}_test.yaml"
            rules_test.write_text(text.replace(name.upper(), str(scrape.RULES / f"{name}.yaml")), encoding="utf-8")
            result = subprocess.run([scrape.PROMTOOL, "test", "rules", rules_test], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return text

    def test_each_alert_fires_when_it_should_and_not_otherwise(self):
        text = self.check("alerts")
        cases = re.findall(r"alertname: (\w+)\W+exp_alerts:(.*)", text)
        for name in re.findall(r"- alert: (\w+)", (scrape.RULES / "alerts.yaml").read_text(encoding="utf-8")):
            quiet = {"[]" in expected for tested, expected in cases if tested == name}
            self.assertEqual(quiet, {True, False}, f"{name}: when it fires, and when it does not")

    def test_the_example_configuration_is_good(self):
        result = subprocess.run([scrape.PROMTOOL, "check", "config", scrape.RULES / "prometheus.yaml"], capture_output=True, text=True,
                                check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_the_recorded_series_have_the_right_values(self):
        self.check("recording")


if __name__ == "__main__":
    harness.main()
