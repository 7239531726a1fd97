"""SIGTERM: every program stops at a safe point with exit code 0, and the run goes on after a restart."""

import harness


class Drain(harness.FederationTest):
    def test_a_drained_coordinator_exits_0_and_the_workers_return(self):
        parties = self.make("alpha", "beta")
        self.start(parties)
        self.submit(parties, rounds=40, participation={"min_workers": 2})
        parties.wait_for_round(harness.RUN, 5, timeout=60)
        self.assertEqual(parties.processes["coordinator"].stop(timeout=40), 0)
        self.assertFalse((parties.data_dir / "endpoints.json").exists(), "endpoints.json outlived the coordinator")
        for site in parties.sites:
            self.assertTrue(parties.processes[f"worker-{site}"].running())
        parties.start_coordinator()
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=40)

    def test_a_worker_exits_0_on_sigterm(self):
        parties = self.make("alpha", "beta", "gamma")
        self.start(parties)
        self.submit(parties, rounds=40, participation={"min_workers": 2})
        parties.wait_for_round(harness.RUN, 3, timeout=60)
        self.assertEqual(parties.processes["worker-beta"].stop(timeout=20), 0)
        status = parties.wait_for_end(harness.RUN, timeout=120)
        self.assertEqual(status["state"], "finished", status.get("reason"))


if __name__ == "__main__":
    harness.main()
