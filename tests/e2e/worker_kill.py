"""kill -9 of a worker in the middle of a run."""

import random

import harness

# Many enough that the run is still going when a killed worker has started again, also on a busy machine.
ROUNDS = 800
# Of the runs that are compared bit for bit.
EXACT_ROUNDS = 200


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

    def test_kills_change_nothing_in_the_model(self):
        modes = {
            "distro": {"mode": "distro", "k": 64},
            "local": {"mode": "local", "local_steps": 3, "k": 64, "value_bits": 2},
        }
        for name, optimizer in modes.items():
            with self.subTest(mode=name):
                hashes = [self.hash_of_a_run(f"{name}-undisturbed", optimizer, kills=0),
                          self.hash_of_a_run(f"{name}-killed", optimizer, kills=12)]
                self.assertEqual(hashes[0], hashes[1])

    def hash_of_a_run(self, name, optimizer, kills):
        """The final state of a run whose rounds wait for both sites, one of which is killed at random times."""
        parties = self.make("alpha", "beta", name=name)
        self.start(parties, persist="every_round")
        spec = harness.run_spec(rounds=EXACT_ROUNDS, participation={"min_workers": 2, "quorum": 1.0, "min_deadline": "60s",
                                                                               "max_deadline": "60s"})
        spec["optimizer"] = {"learning_rate": {"peak": 0.005, "kind": "constant"}, **optimizer}
        parties.submit(parties.write_yaml("run.yaml", spec))
        dice = random.Random(name)
        for kill in range(kills):
            parties.wait_for_round(harness.RUN, 1 + kill * EXACT_ROUNDS // (2 * kills) + dice.randrange(3), timeout=60)
            self.assertEqual(parties.processes["worker-beta"].kill(), -9)
            parties.start_worker("beta")
        status = parties.wait_for_end(harness.RUN, timeout=200)
        final = self.assert_finished(parties, status, rounds=EXACT_ROUNDS)
        self.assertEqual([int(site["updates_included"]) for site in status["sites"]], [EXACT_ROUNDS] * 2)
        if kills:
            self.assertIn("continuing from the state saved", parties.processes["worker-beta"].log_text())
        harness.federation.wait_until(lambda: not list(parties.directory.glob("state-*/*.state")), 20, "the saved state to be removed")
        parties.close()
        return final

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
