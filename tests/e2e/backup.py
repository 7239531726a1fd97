"""The coordinator's folder is backed up in service, lost and restored; the sites, ahead of it by then, go on with it."""

import json
import shutil

import harness

ROUNDS = 80


class Backup(harness.FederationTest):
    def test_a_run_goes_on_from_a_backup_that_was_made_in_service(self):
        parties = self.make("alpha", "beta")
        parties.write_coordinator_config(snapshots={"every": 4, "keep": 1}, log={"keep": "since_snapshot"})
        # The audit log goes back with the backup, and sites may hold a later head of it.
        self.start(parties, audit_contradiction="go_on")
        self.submit(parties, rounds=ROUNDS, participation={"min_workers": 2})
        parties.wait_for_round(harness.RUN, 10, timeout=60)
        backup = parties.directory / "backup"
        copied = json.loads(parties.tool("backup", parties.data_dir, backup, "--format", "json").stdout)["runs"][0]["round"]
        self.assertGreaterEqual(copied, 10)
        self.assertIn("all checks passed", parties.tool("journal", "verify", backup).stdout)
        parties.wait_for_round(harness.RUN, copied + 8, timeout=60)
        gone = parties.tool("--config", parties.directory / "operator.yaml", "export", harness.RUN, "--round", "3", "--output",
                            parties.directory / "x", check=False)
        self.assertEqual(gone.returncode, 10, gone.stderr)
        self.assertIn("gone by log.keep", gone.stderr)

        self.assertEqual(parties.processes["coordinator"].kill(), -9)
        shutil.rmtree(parties.data_dir)
        parties.tool("restore", backup, parties.data_dir)
        parties.start_coordinator()
        status = parties.wait_for_end(harness.RUN, timeout=120)
        self.assert_finished(parties, status, rounds=ROUNDS)
        journal = json.loads(parties.tool("journal", "show", parties.data_dir, harness.RUN, "--format", "json").stdout)
        # A backup taken between the updates of a round and its commit holds those updates, and the coordinator commits them at its start.
        ends = {f"it holds round {ahead}, the log ends at {end}" for ahead in range(copied + 8, ROUNDS) for end in (copied, copied + 1)}
        self.assertTrue(any(event["detail"] in ends for event in journal["events"]), (copied, journal["events"]))


if __name__ == "__main__":
    harness.main()
