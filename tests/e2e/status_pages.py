"""The status pages of a real federation: what both sides show of a run, and what the site's record says that it sent."""

import hashlib
import json
import subprocess
import urllib.error
import urllib.request

import harness


def fetch(address, host=None):
    request = urllib.request.Request(f"http://{address}/", headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


class StatusPages(harness.FederationTest):
    def sent(self, parties, site):
        result = subprocess.run([harness.BINARIES / "tributary-worker", "status", "--config", parties.directory / f"worker-{site}.yaml",
                                 "--format", "json"], check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(result.stdout)["sent"]

    def test_both_sides_show_the_run_and_the_site_can_say_what_it_sent(self):
        parties = self.make("alpha", "beta")
        parties.write_coordinator_config(status_listen="127.0.0.1:0")
        self.start(parties, status_listen="127.0.0.1:0")
        self.submit(parties, participation={"min_workers": 2})
        parties.wait_for_end(harness.RUN, timeout=120)

        address = parties.endpoints()["status"]
        page = fetch(address)
        for part in ("Federation", ">finished<", "<b>12 / 12</b>", "<td>alpha</td>", "<td>beta</td>", "<polyline", "<td>submitted</td>"):
            self.assertIn(part, page)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            fetch(address, host="elsewhere.example")
        self.assertEqual(refused.exception.code, 403)
        refused.exception.close()

        log = parties.processes["worker-alpha"].log_text()
        site_page = fetch(log.split("status page at http://")[1].split()[0])
        for part in ("Site alpha", ">connected<", "<h2>Consent</h2>", "<td>update</td>", parties.address()):
            self.assertIn(part, site_page)

        sent = self.sent(parties, "alpha")
        updates = [entry for entry in sent if "sha256" in entry]
        self.assertEqual([entry["round"] for entry in updates], list(range(1, 13)))
        for entry in updates:
            self.assertEqual(entry["to"], parties.address())
            self.assertTrue(entry["run"].startswith(f"{harness.RUN}-"))
            self.assertGreater(entry["bytes"], 0)
            self.assertEqual(len(bytes.fromhex(entry["sha256"])), hashlib.sha256().digest_size)
            self.assertIn("train_loss", entry)

    def test_a_status_page_for_others_is_refused(self):
        parties = self.make("alpha")
        config = parties.write_coordinator_config(status_listen="0.0.0.0:0")
        result = subprocess.run([harness.BINARIES / "tributary-coordinator", "--config", config, "--check"], capture_output=True, text=True,
                                check=False)
        self.assertEqual(result.returncode, harness.EXIT_USAGE)
        self.assertIn("status_listen", result.stderr)


if __name__ == "__main__":
    harness.main()
