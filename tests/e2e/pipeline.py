"""`pipeline: 1`: the next round is computed while a commit travels; the model is as reproducible as without it."""

import harness

ROUNDS = 60
# Whoever is killed comes back in time: no update is lost, so the model must not change.
PATIENT = {"min_workers": 2, "quorum": 1.0, "min_deadline": "60s", "max_deadline": "60s"}


class Pipeline(harness.FederationTest):
    def train(self, name, disturb=None, **overrides):
        parties = self.make("alpha", "beta", name=name)
        self.start(parties)
        self.submit(parties, rounds=ROUNDS, participation=PATIENT, **overrides)
        if disturb is not None:
            parties.wait_for_round(harness.RUN, 10, timeout=60)
            disturb(parties)
        status = parties.wait_for_end(harness.RUN, timeout=200)
        state_hash = self.assert_finished(parties, status, rounds=ROUNDS)
        losses = {int(record["round"]): record["val_loss"] for record in parties.history(harness.RUN) if "val_loss" in record}
        self.assertLess(losses[max(losses)], losses[min(losses)], "it learns")
        return state_hash

    def kill_coordinator(self, parties):
        parties.processes["coordinator"].kill()
        parties.start_coordinator()

    def test_the_model_depends_on_pipelining_and_not_on_chance(self):
        plain = self.train("plain")
        first = self.train("first", pipeline=1)
        self.assertEqual(self.train("second", pipeline=1), first)
        self.assertNotEqual(plain, first)

    def test_a_killed_coordinator_changes_nothing(self):
        undisturbed = self.train("undisturbed", pipeline=1)
        self.assertEqual(self.train("killed", self.kill_coordinator, pipeline=1), undisturbed)


if __name__ == "__main__":
    harness.main()
