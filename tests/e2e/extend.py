"""A run is given more rounds while it goes on, and again when it has finished, over a kill of the coordinator: it ends with the model of
a run that had them all from the start."""

import harness

ROUNDS, MORE, ALL = 30, 60, 70
# Everybody in every round, so that both runs add the same; sites of `allreduce` keep nothing from round to round.
SPEC = {
    "optimizer": {"mode": "allreduce", "k": None, "learning_rate": {"peak": 0.005, "kind": "cosine"}},
    "participation": {"min_workers": 2, "quorum": 1},
}


class Extend(harness.FederationTest):
    def test_an_extended_run_ends_with_the_model_of_a_longer_one(self):
        parties = self.make("alpha", "beta")
        self.start(parties)
        self.submit(parties, rounds=ROUNDS, **SPEC)
        parties.wait_for_round(harness.RUN, 3, timeout=60)
        parties.operator("run", "extend", harness.RUN, "--rounds", MORE)
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=MORE)

        parties.operator("run", "extend", harness.RUN, "--rounds", ALL)
        self.assertEqual(parties.processes["coordinator"].kill(), -9)
        parties.start_coordinator()
        extended = self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=ALL)

        longer = harness.run_spec(name="longer", rounds=ALL, **SPEC)
        longer["optimizer"]["learning_rate"]["rounds"] = ROUNDS
        parties.submit(parties.write_yaml("longer.yaml", longer))
        self.assertEqual(parties.wait_for_end("longer", timeout=120)["state_hash"], extended)

        refused = parties.tool("--config", parties.directory / "operator.yaml", "run", "extend", "longer", "--rounds", ALL, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn(f"has {ALL} rounds; to extend it, name more than that", refused.stderr)


if __name__ == "__main__":
    harness.main()
