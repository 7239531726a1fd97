"""tributary-sim on tables of several sites: who takes part, and what keeps a simulation from its end."""

import json
import subprocess

import harness

EXIT_MEMORY = 11


class SimulateRun(harness.FederationTest):
    SPEC = {
        "name": "table", "rounds": 4, "model": {"mlp": {"inputs": 2, "hidden": [4], "outputs": 2}},
        "data": {"kind": "csv", "label_column": "y", "validation_fraction": 0.25},
        "optimizer": {"mode": "distro", "learning_rate": {"peak": 0.01}, "k": 64},
    }

    def setUp(self):
        super().setUp()
        for site in ("berlin", "lyon", "oslo"):
            self.write(f"data/{site}/rows.csv", self.table("a,b,y"))

    @staticmethod
    def table(header):
        return header + "\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(40))

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def simulate(self, *arguments, **overrides):
        # JSON is YAML.
        run_file = self.write("run.yaml", json.dumps({**self.SPEC, **overrides}))
        return subprocess.run([harness.BINARIES / "tributary-sim", run_file, *arguments, "--format", "json"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, check=False)

    def refused(self, code, *arguments, **overrides):
        result = self.simulate(*arguments, **overrides)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        return result.stderr

    def test_every_site_takes_part_and_what_was_read_is_told(self):
        self.write("data/oslo/B.CSV", self.table("a,b,y"))
        self.write("data/oslo/notes.txt", "not a table")
        result = self.simulate()
        self.assertEqual(result.returncode, 0, result.stderr)
        included = {site["site"]: site.get("updates_included", 0) for site in json.loads(result.stdout)["sites"]}
        self.assertEqual(included, {"berlin": 4, "lyon": 4, "oslo": 4})
        self.assertIn("site oslo: read 2 files, ", result.stderr)
        self.assertIn("80 rows (60 for training, 20 for validation), 2 columns besides the label; not read: notes.txt (not .csv)\n",
                      result.stderr)

    def test_a_site_without_data_ends_it(self):
        (self.folder / "data/paris").mkdir()
        self.assertIn("data/paris holds no .csv files", self.refused(harness.EXIT_DATA))

    def test_sites_with_other_columns_end_it(self):
        self.write("data/lyon/rows.csv", self.table("b,a,y"))
        error = self.refused(harness.EXIT_DATA)
        self.assertIn("its list of columns differs from that of ", error)
        self.assertNotIn("b,a", error)

    def test_a_time_for_steps_that_are_computed_ahead_is_refused(self):
        self.assertIn("--step-time: not with pipeline: 1", self.refused(harness.EXIT_USAGE, "--step-time", "20ms", pipeline=1))

    def test_a_model_that_does_not_fit_into_memory_is_refused(self):
        error = self.refused(EXIT_MEMORY, model={"mlp": {"inputs": 2, "hidden": [900_000, 1_000_000], "outputs": 2}})
        self.assertIn("to simulate run table needs ", error)
        self.assertIn(" are available (", error)

    def test_a_log_that_does_not_fit_into_memory_is_refused(self):
        error = self.refused(EXIT_MEMORY, rounds=50_000_000, optimizer={"mode": "fedavg", "learning_rate": {"peak": 0.01}},
                             model={"mlp": {"inputs": 2, "hidden": [10_000], "outputs": 2}})
        self.assertIn("the log of 50000000 rounds ", error)


if __name__ == "__main__":
    harness.main()
