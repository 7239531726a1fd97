"""Sites whose training is a Python program's, beside each other and beside the C++ worker: one model, one hash."""

import json
import os
import pathlib
import random
import subprocess
import sys
import unittest

import harness

PATIENCE = 60
HERE = pathlib.Path(__file__).parent
PACKAGE = harness.BINARIES.parent / "python"
INTERPRETER = os.environ.get("TRIBUTARY_PYTHON") or "python3"
COLUMNS = 4


def write_table(path, seed, rows=200):
    """Rows of numbers, and whether the first exceeds the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    lines = [",".join([*(f"x{i}" for i in range(COLUMNS)), "label"])]
    for _ in range(rows):
        values = [draw.gauss(0, 1) for _ in range(COLUMNS)]
        lines.append(",".join([*(f"{value:.4f}" for value in values), str(int(values[0] > values[1]))]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tensors_of(path):
    """{name: bytes} of a safetensors file."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    return {name: content[begin + tensor["data_offsets"][0]:begin + tensor["data_offsets"][1]]
            for name, tensor in header.items() if name != "__metadata__"}


class PythonSites(harness.FederationTest):
    @classmethod
    def setUpClass(cls):
        if not (PACKAGE / "tributary").is_dir():
            raise unittest.SkipTest("the Python package was not built (pybind11-dev and python3-dev are missing)")
        probe = subprocess.run([INTERPRETER, "-c", "import tributary"], env=cls.environment(), capture_output=True, text=True, check=False)
        if "No module named 'numpy'" in probe.stderr:
            raise unittest.SkipTest("numpy is not installed")
        assert probe.returncode == 0, probe.stderr

    @staticmethod
    def environment():
        return {**os.environ, "PYTHONPATH": str(PACKAGE)}

    def output_of(self, *arguments):
        done = subprocess.run([INTERPRETER, *arguments], env=self.environment(), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def begin(self, *sites, name="e2e"):
        parties = self.make(*sites, name=name)
        parties.start_coordinator()
        parties.write_operator_config()
        for number, site in enumerate(sites):
            write_table(parties.directory / "data" / site / "rows.csv", seed=number)
            parties.write_worker_config(site, parties.directory / "data" / site, consent={"models": ["mlp", "custom"]})
        return parties

    def start_program(self, parties, site, *behaviour):
        return parties.start(f"worker-{site}", "/usr/bin/env", f"PYTHONPATH={PACKAGE}", INTERPRETER, HERE / "python_site.py",
                             parties.directory / f"worker-{site}.yaml", parties.directory / "data" / site / "rows.csv", *behaviour)

    def run_perceptron(self, parties, mode, sites, **optimizer):
        parties.submit(parties.write_yaml("run.yaml", {
            "name": harness.RUN,
            "rounds": 30,
            "model": {"mlp": {"inputs": COLUMNS, "hidden": [8], "outputs": 2}},
            "data": {"kind": "csv", "label_column": "label", "batch_size": 16},
            "optimizer": {"mode": mode, "learning_rate": {"peak": 0.05}, **optimizer},
            "participation": {"min_workers": sites, "max_deadline": "20s"},
            "evaluation": {"every": 10},
        }))

    def learned(self, process):
        self.assertEqual(process.wait(PATIENCE), 0, process.log_tail(20))
        first, last = map(float, process.log_text().splitlines()[-1].split()[1:])
        self.assertLess(last, first)

    def test_a_program_and_a_worker_end_with_one_model(self):
        parties = self.begin("alpha", "beta")
        program = self.start_program(parties, "alpha")
        parties.start_worker("beta")
        self.run_perceptron(parties, "distro", 2)
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, PATIENCE), 30)
        self.learned(program)

    def test_a_program_that_counts_its_steps_by_time_trains_beside_a_worker(self):
        parties = self.begin("alpha", "beta")
        program = self.start_program(parties, "alpha")
        parties.start_worker("beta")
        self.run_perceptron(parties, "fedavg", 2, local_steps="auto", local_time="50ms")
        self.assert_finished(parties, parties.wait_for_end(harness.RUN, PATIENCE), 30)
        self.learned(program)
        self.assertGreaterEqual(parties.history(harness.RUN)[-1]["local_steps"], 2)

    def test_a_program_with_a_mistake_leaves_and_the_others_go_on(self):
        parties = self.begin("alpha", "beta")
        program = self.start_program(parties, "alpha", "fail")
        other = self.start_program(parties, "beta")
        self.await_log(program, "connected to the coordinator")
        self.run_perceptron(parties, "fedavg", 1)
        self.assertEqual(program.wait(PATIENCE), 1)
        self.assertIn("ZeroDivisionError: a mistake in the program", program.log_text())
        self.assertEqual(parties.wait_for_end(harness.RUN, PATIENCE)["state"], "finished")
        self.learned(other)

    def test_a_model_of_its_own_is_described_and_trained_and_simulation_ends_with_its_hash(self):
        parties = self.begin("alpha", "beta")
        describe = ("import sys, numpy, tributary; sys.path.insert(0, sys.argv[1]); import python_site; "
                    f"model = python_site.Perceptron({COLUMNS}, 2); draw = numpy.random.default_rng(0); "
                    "[weights.__setitem__(..., draw.normal(0, .5, weights.shape)) for weights in model.weights.values()]; "
                    "print(tributary.describe(model.weights, sys.argv[2]))")
        weights = parties.data_dir / "initial_weights" / "perceptron.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        described = self.output_of("-c", describe, HERE, weights)
        run_file = parties.directory / "run.yaml"
        run_file.write_text(f"name: tiny\nrounds: 30\n{described}  batch_size: 16\noptimizer:\n  mode: distro\n  learning_rate: "
                            "{peak: 0.05}\nparticipation: {min_workers: 2, max_deadline: 20s}\n", encoding="utf-8")
        programs = [self.start_program(parties, site) for site in ("alpha", "beta")]
        parties.submit(run_file)
        status = parties.wait_for_end(harness.RUN, PATIENCE)
        self.assert_finished(parties, status, 30)
        for program in programs:
            self.learned(program)

        simulated = self.output_of(HERE / "python_site.py", "simulate", run_file, weights.parent,
                                   *(f"{site}={parties.directory / 'data' / site / 'rows.csv'}" for site in parties.sites))
        self.assertEqual(simulated.splitlines()[-1], status["state_hash"])

        exported = parties.directory / "read.safetensors"
        read = ("import json, sys, tributary; run = tributary.Run('tiny', sys.argv[1]); run.export(sys.argv[2], round=0); "
                "print(json.dumps([run.status()['state_hash'], len(run.history()), run.history()[-1]['included']]))")
        self.assertEqual(json.loads(self.output_of("-c", read, parties.directory / "operator.yaml", exported)),
                         [status["state_hash"], 31, 2])
        self.assertEqual(tensors_of(exported), tensors_of(weights))

    def test_a_module_of_pytorch_ends_with_the_runs_last_state(self):
        if subprocess.run([INTERPRETER, "-c", "import torch"], capture_output=True, check=False).returncode != 0:
            self.skipTest("PyTorch is not installed")
        for mode in ("distro", "fedavg"):
            with self.subTest(mode):
                parties = self.begin("alpha", name=mode)
                last = parties.directory / "last.safetensors"
                program = self.start_program(parties, "alpha", "torch", last)
                self.run_perceptron(parties, mode, 1)
                self.assertEqual(parties.wait_for_end(harness.RUN, PATIENCE)["state"], "finished")
                self.learned(program)
                exported = parties.directory / "exported.safetensors"
                parties.operator("export", harness.RUN, "--output", exported)
                self.assertEqual(tensors_of(last), tensors_of(exported))

    def test_ctrl_c_ends_a_program_as_a_program(self):
        parties = self.begin("alpha")
        program = self.start_program(parties, "alpha", "interrupt")
        self.run_perceptron(parties, "distro", 1)
        self.assertIn(program.wait(PATIENCE), (-2, 130, 1))
        self.assertIn("KeyboardInterrupt", program.log_text())


if __name__ == "__main__":
    harness.main()
