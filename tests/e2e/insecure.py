"""--insecure: works on loopback, is refused elsewhere unless it is asked for twice, and nags."""

import harness


class Insecure(harness.FederationTest):
    def plain(self, listen="127.0.0.1:0"):
        parties = harness.federation.Federation(self.folder / "plain", harness.BINARIES, ["alpha"], name="plain")
        self.federations.append(parties)
        parties.directory.mkdir(parents=True)
        harness.write_text(parties.directory / "data", seed=1)
        parties.write_coordinator_config(listen=listen, tls=None)
        return parties

    def start_and_fail(self, parties, *flags):
        process = parties.start("coordinator", "tributary-coordinator", "--config", parties.directory / "coordinator.yaml", *flags)
        return process.wait(20), process.log_text()

    def test_a_run_on_loopback_works_and_warns(self):
        parties = self.plain()
        coordinator = parties.start_coordinator("--insecure")
        parties.write_operator_config(tls=None, name=parties.operator_name)
        parties.operator_flags = ("--insecure",)
        parties.write_worker_config("alpha", parties.directory / "data", tls=None)
        worker = parties.start_worker("alpha", "--insecure")
        self.submit(parties, rounds=5)
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=60), rounds=5)
        for process in (coordinator, worker):
            self.assertRegex(process.log_text(), r"WARNING.*--insecure")

    def test_other_addresses_are_refused(self):
        code, log = self.start_and_fail(self.plain("0.0.0.0:0"), "--insecure")
        self.assertEqual(code, harness.EXIT_USAGE, log)
        self.assertIn("--insecure-anywhere", log)

    def test_other_addresses_are_served_when_asked_for_twice(self):
        parties = self.plain("0.0.0.0:0")
        coordinator = parties.start_coordinator("--insecure", "--insecure-anywhere")
        self.assertRegex(coordinator.log_text(), r"WARNING.*--insecure")

    def test_a_worker_is_refused_too(self):
        parties = self.plain()
        parties.write_yaml("worker-alpha.yaml", {
            "federation": "plain", "site": "alpha", "coordinator": "192.0.2.1:443", "data": str(parties.directory / "data"),
            "state_dir": str(parties.directory / "state"), "consent": {"runs": ["*"], "models": ["gpt"]}})
        worker = parties.start_worker("alpha", "--insecure")
        self.assertEqual(worker.wait(20), harness.EXIT_USAGE, worker.log_text())
        self.assertIn("--insecure-anywhere", worker.log_text())

    def test_no_certificates_and_no_flag_is_a_mistake(self):
        code, log = self.start_and_fail(self.plain())
        self.assertIn(code, (harness.EXIT_USAGE, harness.EXIT_CREDENTIALS), log)
        self.assertIn("tls", log)

    def test_a_plaintext_worker_does_not_get_into_a_tls_federation(self):
        parties = self.make("alpha")
        self.start(parties, workers=False)
        parties.write_worker_config("alpha", parties.directory / "data" / "alpha", tls=None)
        worker = parties.start_worker("alpha", "--insecure", "--connect-timeout", "3s")
        self.assertNotEqual(worker.wait(40), 0, worker.log_text())
        self.assertEqual(parties.operator("doctor").get("sites_connected", []), [])


if __name__ == "__main__":
    harness.main()
