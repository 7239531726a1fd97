"""SIGHUP and rotated certificates: no program ends, and the log says what was taken over."""

import pathlib
import signal

import harness

PATIENCE = 30


class Reload(harness.FederationTest):
    def test_certificates_sites_and_consent_change_without_a_restart(self):
        parties = self.make("alpha", "beta")
        self.start(parties, consent={"runs": ["other"], "models": ["mlp", "gpt"]})
        coordinator, alpha = parties.processes["coordinator"], parties.processes["worker-alpha"]
        self.submit(parties, rounds=30, participation={"min_workers": 2})
        for site in parties.sites:
            self.await_log(parties.processes[f"worker-{site}"], "is refused: consent.runs")

        with self.subTest("files that are empty for a moment end nobody, and the new pair is used"):
            for stem in ("coordinator", "site-alpha"):
                for suffix in ("crt", "key"):
                    pathlib.Path(parties.pki / f"{stem}.{suffix}").write_text("", encoding="utf-8")
            for process in (coordinator, alpha):
                self.await_log(process, "the certificate files are not good")
            parties.tool("pki", "issue", parties.pki, "--coordinator", "--host", "127.0.0.1", "--force")
            parties.tool("pki", "issue", parties.pki, "--site", "alpha", "--force")
            for process in (coordinator, alpha):
                self.await_log(process, "new certificate in use")

        with self.subTest("a configuration that is not good changes nothing"):
            good = (parties.directory / "coordinator.yaml").read_text(encoding="utf-8")
            (parties.directory / "coordinator.yaml").write_text(good + "no_such_key: 1\n", encoding="utf-8")
            coordinator.signal(signal.SIGHUP)
            self.await_log(coordinator, "nothing is reloaded")
            (parties.directory / "coordinator.yaml").write_text(good, encoding="utf-8")

        with self.subTest("a site that is off the list is closed out, waits, and comes back with it"):
            parties.write_coordinator_config(sites=["beta"])
            coordinator.signal(signal.SIGHUP)
            self.await_log(alpha, "is not in the coordinator's registry")
            self.assertTrue(alpha.running())
            parties.write_coordinator_config()
            coordinator.signal(signal.SIGHUP)
            harness.federation.wait_until(lambda: alpha.log_text().count("connected to the coordinator") == 2, PATIENCE, "alpha to return")

        with self.subTest("a run that was refused is trained once the consent covers it"):
            for site in parties.sites:
                parties.write_worker_config(site, parties.directory / "data" / site)
                parties.processes[f"worker-{site}"].signal(signal.SIGHUP)
            self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=30)
            self.assertIn("reloaded: consent", alpha.log_text())

        for process in (alpha, coordinator):
            self.assertEqual(process.stop(timeout=40), 0)
            self.assertTrue(process.log_text().splitlines()[-1].endswith(": stopped"), process.log_tail(2))

    def test_a_watched_configuration_is_taken_over_without_a_signal(self):
        parties = self.make("alpha", "beta")
        parties.coordinator_flags = ("--watch-config",)
        self.start(parties, workers=False)
        parties.start_worker("alpha", "--watch-config")
        coordinator, alpha = parties.processes["coordinator"], parties.processes["worker-alpha"]
        self.await_log(alpha, "connected to the coordinator")

        parties.write_worker_config("alpha", parties.directory / "data" / "alpha", consent={"runs": ["other"], "models": ["mlp"]})
        self.await_log(alpha, "reloaded: consent")
        parties.write_coordinator_config(sites=["beta"])
        self.await_log(coordinator, "reloaded: sites")
        self.await_log(alpha, "is not in the coordinator's registry")


if __name__ == "__main__":
    harness.main()
