"""The ceremony of enrolment, from the token to the first round, and a site that is thrown out in the middle of one."""

import subprocess

import harness

CUT_WITHIN = 20  # seconds, on a machine that does much else; in service it is one


class Enrolment(harness.FederationTest):
    def enroll(self, parties, token, *arguments):
        """Runs the worker's ceremony. Returns the CompletedProcess."""
        return subprocess.run([harness.BINARIES / "tributary-worker", "enroll", "--coordinator", parties.endpoints()["enrolment"],
                               "--token", token, *(str(argument) for argument in arguments)], capture_output=True, text=True, timeout=60,
                              check=False)

    def test_a_site_enrols_trains_and_is_revoked(self):
        parties = self.make("alpha")
        parties.write_coordinator_config(
            sites=[], enrol_listen="127.0.0.1:0",
            enrolment={"ca_certificate": str(parties.pki / "ca.crt"), "ca_key": str(parties.pki / "ca.key"), "lifetime": "24h"})
        coordinator = parties.start_coordinator()
        parties.write_operator_config()
        parties.operator("site", "add", "alpha", "--reason", "agreed in writing")
        token = parties.operator("site", "token", "alpha")["token"]
        self.assertNotIn(token, coordinator.log_text())

        at_site = parties.directory / "at-alpha"
        tls = {"ca": str(at_site / "ca.crt"), "certificate": str(at_site / "site.crt"), "key": str(at_site / "site.key")}
        config = parties.write_worker_config("alpha", parties.directory / "data" / "alpha", tls=tls)
        enrolled = self.enroll(parties, token, "--config", config)
        self.assertEqual(enrolled.returncode, 0, enrolled.stdout + enrolled.stderr)
        self.assertIn("enrolled as spiffe://e2e/site/alpha", enrolled.stdout)
        self.assertEqual((at_site / "site.key").stat().st_mode & 0o777, 0o600)

        again = self.enroll(parties, token, "--directory", parties.directory / "thief")
        self.assertEqual(again.returncode, harness.EXIT_CREDENTIALS, again.stderr)
        self.assertIn("was used already", again.stderr)
        main = subprocess.run([harness.BINARIES / "tributary-worker", "enroll", "--coordinator", parties.address(), "--token",
                               token[:-40] + "A" * 40, "--directory", parties.directory / "other"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(main.returncode, harness.EXIT_CREDENTIALS, main.stderr)
        self.assertIn("the token was not sent", main.stderr)

        worker = parties.start_worker("alpha")
        self.submit(parties, rounds=1_000_000)
        parties.wait_for_round(harness.RUN, 3, 60)

        parties.operator("site", "revoke", "alpha", "--reason", "the laptop was stolen")
        harness.federation.wait_until(lambda: parties.operator("site", "list")["sites"][0]["connected"] is False, CUT_WITHIN,
                                      "the site to be cut off")
        harness.federation.wait_until(lambda: "was revoked by an operator" in worker.log_text(), CUT_WITHIN, "the worker to be told")
        halted = parties.status(harness.RUN)["round"]

        coordinator.kill()
        parties.start_coordinator()
        sites = parties.operator("site", "list")["sites"]
        self.assertEqual([(site["name"], site["standing"], site["actor"], site["reason"]) for site in sites],
                         [("alpha", "revoked", parties.operator_name, "the laptop was stolen")])
        self.assertLessEqual(parties.status(harness.RUN)["round"], halted + 1)


if __name__ == "__main__":
    harness.main()
