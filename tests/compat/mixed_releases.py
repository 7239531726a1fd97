"""Federations whose programs are of two releases. Started by mixed_releases.sh, which says where the programs are."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
sys.dont_write_bytecode = True

import harness  # noqa: E402  (found through the line above)

THIS = harness.BINARIES
PREVIOUS = pathlib.Path(os.environ["TRIBUTARY_PREVIOUS_BIN"])
SITES = ("alpha", "beta")
ROUNDS = 60
# Every round has the update of every site, whoever is away for a while: so that the models can be compared bit for bit.
EXACT = {"participation": {"min_workers": len(SITES), "quorum": 1, "min_deadline": "1s", "max_deadline": "20s", "wait_timeout": "2m"}}


class MixedReleases(harness.FederationTest):
    reference = None  # the hash of the model that this release makes alone, once known

    def federation(self, name, coordinator, workers, operator):
        """A federation of these programs with a run that has just been submitted."""
        parties = self.make(*SITES, name=name)
        self.start_coordinator(parties, coordinator)
        parties.write_operator_config()
        for site, binaries in zip(SITES, workers):
            self.start_worker(parties, site, binaries)
        parties.binaries = operator
        self.submit(parties, rounds=ROUNDS, **EXACT)
        return parties

    # `parties.binaries` are the operator's, whose command the harness calls all the time.
    def start_coordinator(self, parties, binaries):
        operator, parties.binaries = parties.binaries, binaries
        parties.start_coordinator()
        parties.binaries = operator

    # The previous release knows no `persist`, and does what this one does with `every_round`; and it consents to small batches unasked.
    def start_worker(self, parties, site, binaries):
        exact = {"persist": "every_round"} if binaries == THIS else {
            "consent": {"min_batch_size": None, "min_samples": None, "allow_small_gradients": None}}
        parties.write_worker_config(site, parties.directory / "data" / site, **exact)
        operator, parties.binaries = parties.binaries, binaries
        parties.start_worker(site)
        parties.binaries = operator

    def finish(self, parties):
        return self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=240), rounds=ROUNDS)

    def expected(self):
        if MixedReleases.reference is None:
            parties = self.federation("alone", THIS, (THIS, THIS), THIS)
            MixedReleases.reference = self.finish(parties)
            parties.close()
        return MixedReleases.reference

    def test_the_previous_coordinator_works_with_a_worker_of_each_release(self):
        parties = self.federation("previous", PREVIOUS, (PREVIOUS, THIS), operator=THIS)
        self.assertEqual(self.finish(parties), self.expected())

    def test_this_coordinator_works_with_a_worker_of_each_release(self):
        parties = self.federation("this", THIS, (PREVIOUS, THIS), operator=PREVIOUS)
        parties.operator("doctor")  # fails if it finds the releases apart
        self.assertEqual(self.finish(parties), self.expected())

    def test_everything_is_upgraded_one_at_a_time_during_a_run_and_the_coordinator_is_rolled_back(self):
        parties = self.federation("upgraded", PREVIOUS, (PREVIOUS, PREVIOUS), operator=PREVIOUS)

        def replace_coordinator(at_round, binaries):
            parties.wait_for_round(harness.RUN, at_round, timeout=60)
            self.assertEqual(parties.processes["coordinator"].stop(timeout=40), 0)
            self.start_coordinator(parties, binaries)

        def replace_worker(at_round, site, binaries):
            parties.wait_for_round(harness.RUN, at_round, timeout=60)
            parties.processes[f"worker-{site}"].kill()
            self.start_worker(parties, site, binaries)

        replace_coordinator(4, THIS)
        replace_worker(8, "alpha", THIS)
        replace_worker(12, "beta", THIS)
        replace_coordinator(16, PREVIOUS)
        replace_worker(20, "beta", PREVIOUS)
        replace_coordinator(24, THIS)
        self.assertEqual(self.finish(parties), self.expected())


if __name__ == "__main__":
    harness.main()
