"""A run paused by its operator: the round in flight ends, kill -9 changes nothing of it, and it goes on when it is resumed."""

import harness


class Pause(harness.FederationTest):
    def state(self, parties):
        return parties.status(harness.RUN)["state"]

    def test_a_paused_run_stays_paused_over_a_kill_and_finishes_when_resumed(self):
        parties = self.make("alpha", "beta")
        self.start(parties)
        self.submit(parties, rounds=40, participation={"min_workers": 2})
        parties.wait_for_round(harness.RUN, 5, timeout=60)
        parties.operator("run", "pause", harness.RUN, "--reason", "new racks")
        self.assertEqual(self.state(parties), "paused")
        self.assertEqual(parties.processes["coordinator"].kill(), -9)
        parties.start_coordinator()

        def both_ready():
            status = parties.status(harness.RUN)
            return status if "ready: alpha, beta" in status["reason"] else None

        status = harness.federation.wait_until(both_ready, 60, "both sites to be ready again")
        self.assertEqual(status["state"], "paused")
        self.assertIn(f"paused by {parties.operator_name}: new racks; round", status["reason"])
        self.assertLess(int(status["round"]), 40)
        self.assertEqual(parties.tool("--config", parties.directory / "operator.yaml", "run", "pause", "none", check=False).returncode, 10)
        parties.operator("run", "resume", harness.RUN)
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=40)


if __name__ == "__main__":
    harness.main()
