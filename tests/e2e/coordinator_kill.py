"""kill -9 of the coordinator in the middle of a run: no committed round is lost, and the run goes on."""

import harness

ROUNDS = 60


class CoordinatorKill(harness.FederationTest):
    def committed(self, parties):
        """The committed rounds. Without validation losses: those of the newest round are reported with updates of the round in flight."""
        return [{key: value for key, value in record.items() if key != "val_loss"} for record in parties.history(harness.RUN)
                if record["round"] > 0]

    def test_a_killed_coordinator_goes_on_where_it_was(self):
        parties = self.make("alpha", "beta", "gamma")
        self.start(parties)
        self.submit(parties, rounds=ROUNDS, participation={"min_workers": 3})
        for kill_at in (4, 15, 30):
            parties.wait_for_round(harness.RUN, kill_at, timeout=60)
            before = self.committed(parties)
            self.assertEqual(parties.processes["coordinator"].kill(), -9)
            parties.start_coordinator()
            after = self.committed(parties)
            self.assertEqual(after[:len(before)], before)
        for site in parties.sites:
            self.assertTrue(parties.processes[f"worker-{site}"].running(), "a worker ended instead of reconnecting")
        status = parties.wait_for_end(harness.RUN, timeout=180)
        self.assert_finished(parties, status, rounds=ROUNDS)

    def test_snapshots_shorten_recovery_without_changing_the_result(self):
        parties = self.make("alpha")
        parties.write_coordinator_config(snapshots={"every": 5, "keep": 2})
        self.start(parties)
        self.submit(parties, rounds=25)
        parties.wait_for_round(harness.RUN, 12, timeout=60)
        parties.processes["coordinator"].kill()
        parties.start_coordinator()
        undisturbed = self.make("alpha", name="undisturbed")
        self.start(undisturbed)
        self.submit(undisturbed, rounds=25)
        disturbed_hash = self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=25)
        verify = ("journal", "verify", parties.data_dir)
        self.assertIn("all checks passed", parties.tool(*verify).stdout, "beside the coordinator")
        self.assertEqual(parties.processes["coordinator"].stop(), 0)
        self.assertIn("all checks passed", parties.tool(*verify).stdout)
        self.assertEqual(disturbed_hash, self.assert_finished(undisturbed, undisturbed.wait_for_end(harness.RUN, timeout=120), rounds=25))


if __name__ == "__main__":
    harness.main()
