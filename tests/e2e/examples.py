"""The configuration files of deploy/examples work as README.md uses them (with fewer rounds, and ports that the system picks)."""

import base64
import json
import re
import shutil
import struct
import subprocess
import sys

import harness

sys.path.insert(0, str(harness.ROOT / "deploy" / "examples"))

import digits  # noqa: E402  (found through the line above)

SITES = ("berlin", "lyon")


class Examples(harness.FederationTest):
    def copied(self):
        """The examples in a folder of their own, with the keys that README.md issues."""
        folder = self.folder / "my-federation"
        shutil.copytree(harness.ROOT / "deploy" / "examples", folder)
        parties = harness.federation.Federation(folder, harness.BINARIES, SITES, name="example")
        parties.data_dir = folder / "coordinator-data"
        self.federations.append(parties)
        parties.make_pki(hosts=["127.0.0.1"])
        self.edit(folder / "coordinator.yaml", r"127\.0\.0\.1:\d+", "127.0.0.1:0")
        return parties

    def edit(self, path, pattern, replacement):
        text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"))
        self.assertGreater(count, 0, f"{path.name} has no {pattern}")
        path.write_text(text, encoding="utf-8")

    def start_all(self, parties):
        parties.start_coordinator()
        for name in ("operator", *(f"worker-{site}" for site in SITES)):
            self.edit(parties.directory / f"{name}.yaml", r"127\.0\.0\.1:\d+", parties.address())
        for site in SITES:
            parties.start_worker(site)

    def finish(self, parties, file_name, rounds):
        path = parties.directory / file_name
        self.edit(path, r"(?m)^rounds: \d+", f"rounds: {rounds}")
        run = parties.submit(path)["spec"]["name"]
        status = parties.wait_for_end(run, timeout=120)
        self.assertEqual((status["state"], status["round"]), ("finished", rounds), status.get("reason"))
        self.assertEqual({site.get("state_hash") for site in status["sites"]}, {status["state_hash"]})
        self.assertEqual(sorted(status["metrics"]), sorted(status["spec"]["evaluation"]["metrics"]))

    def test_the_text_runs(self):
        parties = self.copied()
        for index, site in enumerate(SITES):
            harness.write_text(parties.directory / f"{site}-data", seed=index)
        self.start_all(parties)
        self.finish(parties, "run.yaml", rounds=12)
        self.finish(parties, "run-local.yaml", rounds=5)
        self.finish(parties, "run-auto.yaml", rounds=4)

    def test_the_table_run(self):
        parties = self.copied()
        for index, site in enumerate(SITES):
            folder = parties.directory / f"{site}-data"
            folder.mkdir()
            rows = ["a,b,c,d,label"] + [f"{row % 7},{row % 5 - index},{row % 3},{row / 10},{row // 3 % 2}" for row in range(200)]
            (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        self.start_all(parties)
        self.finish(parties, "run-csv.yaml", rounds=12)

    def test_the_tokens_run_and_its_hugging_face_folder(self):
        parties = self.copied()
        for index, site in enumerate(SITES):
            folder = parties.directory / f"{site}-data"
            folder.mkdir()
            tokens = [(number * number + index) % 97 * 5 for number in range(4000)]
            (folder / "train.bin").write_bytes(struct.pack(f"<{len(tokens)}H", *tokens))
        self.start_all(parties)
        self.finish(parties, "run-tokens.yaml", rounds=11)
        folder, weights = parties.directory / "huggingface", parties.directory / "weights.safetensors"
        parties.operator("export", "example-tokens", "--huggingface", folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.assertEqual((config["model_type"], config["vocab_size"], config["num_key_value_heads"]), ("llama", 512, 2))
        # And back: the run's own model.
        told = json.loads(parties.tool("--format", "json", "model", "from-huggingface", folder, "--output", weights).stdout)
        self.assertEqual(told["model"]["llama"]["context"], 64)
        self.assertEqual(told["parameters"], int(parties.status("example-tokens")["parameters"]))


    def test_the_image_runs(self):
        source = digits.default_source()
        if source is None:
            self.skipTest("no digits of scikit-learn here: bash deploy/install-deps.sh --tests")
        parties = self.copied()
        digits.write_digits(source, [parties.directory / f"{site}-data" for site in SITES], most=400)
        self.start_all(parties)
        self.finish(parties, "run-images.yaml", rounds=12)
        self.finish(parties, "run-ddpm.yaml", rounds=10)
        model, grid, page = (parties.directory / name for name in ("model.safetensors", "samples.png", "report.html"))
        parties.operator("export", "example-ddpm", "--output", model)
        subprocess.run([harness.BINARIES / "tributary-worker", "sample", "--model", model, "--output", grid, "--rows", "1",
                        "--columns", "2", "--steps", "2"], check=True, timeout=60)
        parties.operator("report", "example-ddpm", "--output", page, "--image", grid)
        self.assertIn(base64.b64encode(grid.read_bytes()).decode(), page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    harness.main()
