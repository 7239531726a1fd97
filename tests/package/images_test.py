"""The images of coordinator and worker: small, without a shell, and content with any user and a root folder that is read-only.

Usage: images_test.py    (as root, after build_images.sh)
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "deploy"))
sys.dont_write_bytecode = True

import federation  # noqa: E402  (found through the line above)

_MEBIBYTE = 2**20
_LARGEST = {"coordinator": 150 * _MEBIBYTE, "worker": 400 * _MEBIBYTE}
_PROGRAMS = {"coordinator": {"tributary", "tributary-coordinator"}, "worker": {"tributary-worker"}}
_USER = "12345:0"  # of no /etc/passwd

# As a container's runtime does it: mounts of its own, the root folder read-only, what is below `data` as it is.
_ENTER = """
set -e
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/data"
mount -o remount,bind,ro "$1"
user=$3; root=$1; shift 3
exec chroot --userspec="$user" --groups= "$root" "$@"
"""


def buildah(*arguments):
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.roots, cls.containers = {}, []
        for party in _PROGRAMS:
            container = buildah("from", "--pull-never", f"localhost/tributary-{party}:test")
            cls.containers.append(container)
            cls.roots[party] = pathlib.Path(buildah("mount", container))
        cls.sizes = {party: int(subprocess.run(["du", "-sb", root], check=True, capture_output=True, text=True).stdout.split()[0])
                     for party, root in cls.roots.items()}
        cls.data = pathlib.Path(tempfile.mkdtemp())
        for root in cls.roots.values():
            for name in ("proc", "dev", "data"):
                (root / name).mkdir()

    @classmethod
    def tearDownClass(cls):
        buildah("rm", *cls.containers)
        shutil.rmtree(cls.data)

    def command(self, party, *arguments):
        return ["unshare", "--mount", "--fork", "--pid", "--kill-child", "sh", "-c", _ENTER, "enter", str(self.roots[party]),
                str(self.data), _USER, *arguments]

    def run_in(self, party, *arguments):
        return subprocess.run(self.command(party, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=60, env={})

    def test_they_are_small(self):
        for party, size in self.sizes.items():
            print(f"{party}: {size / _MEBIBYTE:.0f} MiB unpacked")
            self.assertLess(size, _LARGEST[party])

    def test_they_hold_no_program_but_their_own(self):
        for party, root in self.roots.items():
            with self.subTest(party):
                files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
                self.assertEqual({path.name for path in files if path.stat().st_mode & 0o111 and ".so" not in path.name}, _PROGRAMS[party])

    def test_their_user_is_a_number_and_not_root(self):
        for party in _PROGRAMS:
            with self.subTest(party):
                config = json.loads(buildah("inspect", "--type", "image", f"localhost/tributary-{party}:test"))["OCIv1"]["config"]
                self.assertRegex(config["User"], "^[1-9][0-9]*:0$")

    def test_their_bill_of_materials_names_every_library_and_program(self):
        for party, root in self.roots.items():
            with self.subTest(party):
                documents = root / "usr/share/doc/tributary"
                bill = json.loads((documents / "sbom.spdx.json").read_text(encoding="utf-8"))
                named = {package["name"]: package["versionInfo"] for package in bill["packages"]}
                rows = [line.split("\t") for line in (documents / "licenses/libraries.tsv").read_text(encoding="utf-8").splitlines()[1:]]
                self.assertEqual({row[0] for row in rows}, {path.name for path in (root / "usr/lib").iterdir()})
                self.assertEqual({name: version for _, name, version in rows if version != "-"}.items() - named.items(), set())
                self.assertGreaterEqual(set(named), _PROGRAMS[party] | {"libc6", "libssl3", "ca-certificates", "tzdata"})

    def test_any_user_can_run_their_programs(self):
        for party, programs in _PROGRAMS.items():
            for program in sorted(programs):
                with self.subTest(program):
                    result = self.run_in(party, f"/usr/bin/{program}", "--version")
                    self.assertEqual((result.returncode, result.stderr), (0, ""))
                    self.assertTrue(result.stdout.startswith(program + " "), result.stdout)

    def test_the_coordinator_serves_as_any_user_and_the_doctor_is_content(self):
        parties = federation.Federation(self.data / "f", _ROOT / "build/release/bin", ["berlin"])
        parties.make_pki()
        (parties.directory / "coordinator.yaml").write_text(
            "federation: demo\ndata_dir: coordinator\nlisten: 127.0.0.1:0\nhealth_listen: 127.0.0.1:0\nmetrics_listen: 127.0.0.1:0\n"
            "tls: {ca: pki/ca.crt, certificate: pki/coordinator.crt, key: pki/coordinator.key}\nsites: [berlin]\noperators: [admin]\n",
            encoding="utf-8")
        (parties.directory / "coordinator").mkdir()
        self.data.chmod(0o755)
        subprocess.run(["chown", "-R", _USER, parties.directory], check=True)

        doctor = self.run_in("coordinator", "/usr/bin/tributary", "doctor", "--coordinator", "/data/f/coordinator.yaml")
        self.assertEqual(doctor.returncode, 0, doctor.stdout + doctor.stderr)

        process = federation.Process("coordinator", self.command("coordinator", "/usr/bin/tributary-coordinator", "--config",
                                                                 "/data/f/coordinator.yaml"), self.data / "coordinator.log")
        self.addCleanup(process.kill)
        endpoints = parties.directory / "coordinator" / "endpoints.json"
        federation.wait_until(lambda: endpoints.exists() or not process.running(), 60, "the coordinator to serve")
        self.assertTrue(process.running(), process.log_tail())
        # One empty request, in the frame that gRPC puts around a message; 1 is SERVING.
        url = f"http://{parties.endpoints()['health']}/grpc.health.v1.Health/Check"
        answer = subprocess.run(["curl", "--silent", "--fail", "--http2-prior-knowledge", "--header", "content-type: application/grpc",
                                 "--header", "te: trailers", "--data-binary", "@-", url],
                                input=bytes(5), stdout=subprocess.PIPE, check=True, timeout=60).stdout
        self.assertEqual(answer, bytes([0, 0, 0, 0, 2, 8, 1]))

    def test_the_worker_trains_as_any_user(self):
        place = self.data / "worker"
        (place / "data").mkdir(parents=True)
        (place / "data" / "a.txt").write_text("a word\n" * 2000, encoding="utf-8")
        (place / "worker.yaml").write_text("federation: demo\nsite: berlin\ncoordinator: 127.0.0.1:1\ndata: data\nstate_dir: state\n"
                                           "consent: {runs: ['*'], models: [gpt]}\n", encoding="utf-8")
        (place / "run.yaml").write_text("name: text\nrounds: 2\nmodel: {gpt: {layers: 1, heads: 2, width: 32, context: 16}}\n"
                                        "data: {kind: text}\noptimizer: {mode: distro, learning_rate: {peak: 1e-3}}\n", encoding="utf-8")
        self.data.chmod(0o755)
        subprocess.run(["chown", "-R", _USER, place], check=True)
        result = self.run_in("worker", "/usr/bin/tributary-worker", "solo", "--config", "/data/worker/worker.yaml",
                             "--run", "/data/worker/run.yaml", "--format", "json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertGreater(json.loads(result.stdout)["val_loss"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
