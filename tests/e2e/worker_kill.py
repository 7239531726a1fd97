"""kill -9 of a worker in the middle of a run."""

import harness

# Many enough that the run is still going when a killed worker has started again, also on a busy machine.
ROUNDS = 800


class WorkerKill(harness.FederationTest):
    def test_a_killed_worker_comes_back_and_ends_with_the_same_hash(self):
        parties = self.make("alpha", "beta", "gamma")
        self.start(parties)
        self.submit(parties, rounds=ROUNDS, participation={"min_workers": 2, "quorum": 0.6})
        parties.wait_for_round(harness.RUN, 5, timeout=60)
        before = harness.site_status(parties.status(harness.RUN), "beta")
        self.assertEqual(parties.processes["worker-beta"].kill(), -9)

        # The others go on without it.
        away = int(parties.status(harness.RUN)["round"])
        parties.wait_for_round(harness.RUN, away + 5, timeout=60)
        parties.start_worker("beta")

        status = parties.wait_for_end(harness.RUN, timeout=400)
        self.assert_finished(parties, status, rounds=ROUNDS)
        after = harness.site_status(status, "beta")
        self.assertGreater(int(after["updates_included"]), int(before["updates_included"]) + 1)

    def test_a_run_below_its_minimum_waits_for_the_worker_and_then_goes_on(self):
        parties = self.make("alpha", "beta")
        self.start(parties)
        self.submit(parties, rounds=30, participation={"min_workers": 2})
        parties.wait_for_round(harness.RUN, 3, timeout=60)
        parties.processes["worker-beta"].kill()

        def waiting():
            status = parties.status(harness.RUN)
            return status if status["state"] == "waiting" else None

        status = harness.federation.wait_until(waiting, 60, "the run to wait for a second worker")
        self.assertTrue(status["reason"])
        parties.start_worker("beta")
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=30)

    def test_a_round_whose_members_have_left_goes_on_with_the_sites_that_are_there(self):
        parties = self.make("alpha", "beta")
        parties.write_coordinator_config(lease="3s")
        self.start(parties, workers=False)
        parties.start_worker("alpha")
        self.submit(parties, rounds=5000)
        parties.wait_for_round(harness.RUN, 3, timeout=60)
        parties.processes["worker-alpha"].kill()  # in the middle of a round of its own
        parties.start_worker("beta")
        there = parties.status(harness.RUN)["round"]
        parties.wait_for_round(harness.RUN, there + 5, timeout=60)


if __name__ == "__main__":
    harness.main()
