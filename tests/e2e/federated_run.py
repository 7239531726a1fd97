"""One model across three sites over real TLS: it learns, everybody ends with the same bits, and the same file gives the same model."""

import json
import subprocess

import harness


class FederatedRun(harness.FederationTest):
    def test_three_workers_finish_with_one_hash_and_a_lower_loss(self):
        parties = self.make("alpha", "beta", "gamma")
        self.start(parties)
        self.submit(parties, rounds=24, participation={"min_workers": 3})
        status = parties.wait_for_end(harness.RUN, timeout=120)
        self.assert_finished(parties, status, rounds=24)
        self.check_audit(parties, status)
        self.check_member(parties, status)

        history = parties.history(harness.RUN)
        losses = [record["val_loss"] for record in history if record.get("val_loss") is not None]
        self.assertLess(losses[-1], losses[0] - 0.5, losses)
        for record in history:
            if int(record.get("round", 0)) > 0:
                self.assertEqual(int(record["included"]), 3)
                self.assertGreater(int(record["bytes_up"]), 0)
                self.assertGreater(int(record["bytes_down"]), 0)
                self.assertLess(int(record["bytes_up"]), int(record["dense_bytes_per_direction"]))

    def check_audit(self, parties, status):
        """The audit log continues what the sites hold of it, and one update is proven to be in it, without the coordinator."""
        log, proof = parties.directory / "log.jsonl", parties.directory / "proof.json"
        trust = ("--ca", parties.pki / "ca.crt", "--federation", parties.name)
        parties.tool("--config", parties.directory / "operator.yaml", "audit", "export", "--output", log)
        kept = [parties.directory / f"state-{site}" / "audit" / "heads.jsonl" for site in parties.sites]
        heads = [argument for file in kept for argument in ("--heads", file)]
        verified = json.loads(parties.tool("--format", "json", "audit", "verify", log, *trust, *heads).stdout)
        self.assertGreaterEqual(verified["kept_heads_compared"], 3)
        self.assertTrue(verified["signature_checked"])
        # Every update, by the key of its site.
        self.assertEqual((verified["updates_signed"], verified["updates_unsigned"], verified["updates_conflicting"]), (72, 0, 0))
        parties.tool("audit", "prove", log, "--run", status["run_id"], "--site", "beta", "--round", "7", "--output", proof)
        proven = parties.tool("audit", "verify", proof, *trust).stdout
        self.assertIn("is in the log", proven)
        self.assertIn("updates signed by their sites: 1, unsigned: 0", proven)
        forged = log.read_text(encoding="utf-8").replace('"record":"', '"record":"AA', 1)
        log.write_text(forged, encoding="utf-8")
        self.assertEqual(parties.tool("audit", "verify", log, *trust, check=False).returncode, 8)

    def check_member(self, parties, status):
        """A site sees its run and its members, and fetches the model that it helped to train, beside its worker."""
        def worker(command, *arguments):
            config = parties.directory / "worker-beta.yaml"
            return subprocess.run([harness.BINARIES / "tributary-worker", command, "--config", config, *arguments],
                                  capture_output=True, text=True, timeout=60, check=False)

        shown = worker("runs", "--format", "json")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        run = json.loads(shown.stdout)["runs"][0]
        self.assertEqual((run["run_id"], run["state"], run["members"]), (status["run_id"], "finished", ["alpha", "beta", "gamma"]))
        self.assertEqual(run["updates_included"], 24)
        own, operators = parties.directory / "own.safetensors", parties.directory / "operators.safetensors"
        fetched = worker("export", "--run", harness.RUN, "--output", own)
        self.assertEqual(fetched.returncode, 0, fetched.stderr)
        parties.operator("export", harness.RUN, "--output", operators)
        self.assertEqual(own.read_bytes(), operators.read_bytes())
        self.assertEqual(worker("export", "--run", "another", "--output", own).returncode, 10)
        for best in (json.loads(worker("export", "--run", harness.RUN, "--best", "--output", own, "--format", "json").stdout),
                     parties.operator("export", harness.RUN, "--best", "--output", operators)):
            self.assertEqual((best["round"], best["best"]), (status["best_round"], status["best"]))
        self.assertEqual(own.read_bytes(), operators.read_bytes())

    def test_the_same_run_file_and_data_give_the_same_model(self):
        hashes = []
        for name in ("first", "second"):
            parties = self.make("alpha", "beta", name=name)
            self.start(parties)
            self.submit(parties, participation={"min_workers": 2})
            hashes.append(self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=12))
            parties.close()
        self.assertEqual(hashes[0], hashes[1])

    def test_sites_that_keep_their_losses_end_with_the_same_model(self):
        hashes = []
        for withhold in (False, True):
            parties = self.make("alpha", "beta", name=f"withhold-{withhold}".lower())
            self.start(parties, withhold_losses=withhold)
            self.submit(parties, rounds=4, participation={"min_workers": 2})
            hashes.append(self.assert_finished(parties, parties.wait_for_end(harness.RUN, timeout=120), rounds=4))
            losses = [record for record in parties.history(harness.RUN)
                      if record.get("train_loss") is not None or record.get("val_loss") is not None]
            self.assertEqual(bool(losses), not withhold, losses)
            parties.close()
        self.assertEqual(hashes[0], hashes[1])

    def test_every_mode_of_this_release_ends_with_equal_hashes(self):
        parties = self.make("alpha", "beta")
        self.start(parties)
        modes = {
            "allreduce": {"mode": "allreduce"},
            "demo": {"mode": "demo", "k": 8},
            "local": {"mode": "local", "local_steps": 3, "k": 64, "value_bits": 2},
        }
        for name, optimizer in modes.items():
            with self.subTest(mode=name):
                spec = harness.run_spec(name=name, rounds=6, participation={"min_workers": 2})
                spec["optimizer"] = {"learning_rate": {"peak": 0.001}, **optimizer}
                parties.submit(parties.write_yaml(f"{name}.yaml", spec))
                status = parties.wait_for_end(name, timeout=120)
                self.assertEqual(status["state"], "finished", status.get("reason"))
                self.assertEqual({site.get("state_hash") for site in status["sites"]}, {status["state_hash"]})


if __name__ == "__main__":
    harness.main()
