"""tributary-sim ends with the model that real processes over gRPC end with, from the same run file and data."""

import json
import subprocess

import harness


class SimulationHash(harness.FederationTest):
    MODES = {
        "distro": {"mode": "distro", "k": 64},
        "local": {"mode": "local", "local_steps": 3, "k": 64, "value_bits": 2},
    }
    # Nothing gets so much better at once: it ends after the round that brings the second evaluation.
    EARLY_ENDS = {"local": {"metric": "perplexity", "patience": 1, "min_change": 1e6}}

    def simulate(self, *arguments):
        result = subprocess.run([harness.BINARIES / "tributary-sim", *(str(argument) for argument in arguments), "--format", "json"],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def test_a_simulated_run_ends_with_the_hash_of_the_real_one(self):
        parties = self.make("alpha", "beta", "gamma")
        self.start(parties)
        for name, optimizer in self.MODES.items():
            with self.subTest(mode=name):
                spec = harness.run_spec(name=name, rounds=8, participation={"min_workers": 3})
                spec["optimizer"] = {"learning_rate": {"peak": 0.001}, **optimizer}
                spec["evaluation"]["metrics"] = ["accuracy", "perplexity"]
                if name in self.EARLY_ENDS:
                    spec["stop_when"] = self.EARLY_ENDS[name]
                run_file = parties.write_yaml(f"{name}.yaml", spec)
                parties.submit(run_file)
                real = parties.wait_for_end(name, timeout=120)
                self.assertEqual(real["state"], "finished", real.get("reason"))

                quiet = self.simulate(run_file)
                for key in ("state_hash", "round", "reason", "metrics", "best_round"):
                    self.assertEqual(quiet[key], real[key], key)
                self.assertEqual(real["round"], 5 if name in self.EARLY_ENDS else 8)
                self.assertEqual(len(quiet["sites"]), 3)
                self.assertLess(quiet["bytes_up_total"], quiet["parameters"] * 4 * 3 * 8)
                # Another network and sites named: the same model.
                exported = self.folder / f"{name}.safetensors"
                named = self.simulate(run_file, "--data", parties.directory / "data", "--workers", 3, "--seed", 5, "--export", exported)
                self.assertEqual(named["state_hash"], real["state_hash"])
                real_export = self.folder / f"{name}-real.safetensors"
                parties.operator("export", name, "--output", real_export)
                # The run's id, which is in the file, tells submissions apart; the tensors stand behind the header.
                size = 4 * quiet["parameters"]
                self.assertEqual(exported.read_bytes()[-size:], real_export.read_bytes()[-size:])

    def test_what_is_wrong_with_the_data_is_said(self):
        parties = self.make("alpha")
        run_file = parties.write_yaml("run.yaml", harness.run_spec())
        result = subprocess.run([harness.BINARIES / "tributary-sim", run_file, "--workers", "2"], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, harness.EXIT_DATA, result.stderr)
        self.assertIn("has 1 sub-folders", result.stderr)

    def test_initial_weights_that_are_missing_or_do_not_fit_end_it_as_they_end_a_submission(self):
        parties = self.make("alpha")
        self.start(parties, workers=False)
        header = b'{"wte":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        for folder in (parties.directory, parties.data_dir / "initial_weights"):
            folder.mkdir(exist_ok=True)
            (folder / "other.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        for weights in ("nowhere.safetensors", "other.safetensors"):
            with self.subTest(weights=weights):
                run_file = parties.write_yaml("run.yaml", harness.run_spec(model={"initial_weights": weights}))
                submitted = parties.tool("--config", parties.directory / "operator.yaml", "run", "submit", run_file, check=False)
                simulated = subprocess.run([harness.BINARIES / "tributary-sim", run_file], stdin=subprocess.DEVNULL, capture_output=True,
                                           text=True, timeout=60, check=False)
                self.assertEqual(simulated.returncode, harness.EXIT_USAGE, simulated.stderr)
                self.assertEqual(simulated.returncode, submitted.returncode)
                self.assertEqual(simulated.stderr.removeprefix("tributary-sim: "), submitted.stderr.removeprefix("tributary: "))


if __name__ == "__main__":
    harness.main()
