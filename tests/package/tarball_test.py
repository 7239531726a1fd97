"""The worker's tarball, unpacked in a folder of another name: it starts on its own libraries, which are few, and trains.

Usage: tarball_test.py BUILD_DIR
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_MOST_LIBRARIES = 115  # with those that stand in for what is left out

_TEXT_RUN = """\
name: text
rounds: 3
model: {gpt: {layers: 1, heads: 2, width: 32, context: 16}}
data: {kind: text}
optimizer: {mode: distro, learning_rate: {peak: 1e-3}}
"""
_TABLE_RUN = """\
name: table
rounds: 3
model: {mlp: {inputs: 2, hidden: [3], outputs: 2}}
data: {kind: csv, label_column: y}
optimizer: {mode: distro, learning_rate: {peak: 1e-3}}
"""
_WORKER = """\
federation: demo
site: berlin
coordinator: 127.0.0.1:1
data: data
state_dir: state
consent: {runs: ['*'], models: [gpt, mlp]}
"""


class Tarball(unittest.TestCase):
    build_dir = None

    @classmethod
    def setUpClass(cls):
        cls.place = pathlib.Path(tempfile.mkdtemp(dir=cls.build_dir))
        packed = subprocess.run([sys.executable, _ROOT / "deploy" / "package" / "worker_tarball.py", cls.build_dir, cls.place, "--folder"],
                                check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        cls.home = cls.place / "some where"
        pathlib.Path(packed).rename(cls.home)
        (cls.place / "worker").symlink_to(cls.home / "bin" / "tributary-worker")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.place)

    def run_packed(self, *arguments):
        return subprocess.run([self.place / "worker", *arguments], env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/nonexistent"},
                              cwd=self.place, capture_output=True, text=True, check=False)

    def test_it_tells_its_version_without_the_system_s_libraries(self):
        result = self.run_packed("--version")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(result.stdout.startswith("tributary-worker "), result.stdout)

    def test_all_its_libraries_are_its_own(self):
        library = self.home / "lib"
        loader = next(library.glob("ld-linux*"))
        listed = subprocess.run([loader, "--library-path", library, "--list", self.home / "libexec" / "tributary-worker"], check=True,
                                stdout=subprocess.PIPE, text=True).stdout.splitlines()
        paths = [line.split(" => ")[-1].strip() for line in listed if "vdso" not in line]
        self.assertGreater(len(paths), 20)
        self.assertEqual([path for path in paths if not path.startswith(f"{library}/")], [])
        self.assertLessEqual(len(paths), _MOST_LIBRARIES)
        self.assertTrue(any("tcmalloc_minimal" in path for path in paths))

    def test_it_trains_as_the_program_it_was_made_of(self):
        (self.place / "worker.yaml").write_text(_WORKER, encoding="utf-8")
        for run, name, data in ((_TEXT_RUN, "a.txt", "".join(f"{line}\n" for line in range(2000))),
                                (_TABLE_RUN, "a.csv", "a,b,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(200)))):
            with self.subTest(name):
                shutil.rmtree(self.place / "data", ignore_errors=True)
                (self.place / "data").mkdir()
                (self.place / "data" / name).write_text(data, encoding="utf-8")
                (self.place / "run.yaml").write_text(run, encoding="utf-8")
                arguments = ["solo", "--config", "worker.yaml", "--run", "run.yaml", "--format", "json"]
                packed = self.run_packed(*arguments)
                built = subprocess.run([self.build_dir / "bin" / "tributary-worker", *arguments], cwd=self.place, capture_output=True,
                                       text=True, check=True)
                self.assertEqual(packed.returncode, 0, packed.stderr)
                # Threads add in an order of their own, so the last digits may differ.
                self.assertAlmostEqual(json.loads(packed.stdout)["val_loss"], json.loads(built.stdout)["val_loss"], places=3)

    def test_it_says_what_it_holds_of_others(self):
        lines = (self.home / "share" / "licenses" / "libraries.tsv").read_text(encoding="utf-8").splitlines()
        named = {line.split("\t")[0] for line in lines[1:]}
        self.assertEqual(named, {path.name for path in (self.home / "lib").iterdir()})
        self.assertTrue((self.home / "share" / "licenses" / "libc6.copyright").exists())


if __name__ == "__main__":
    Tarball.build_dir = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
