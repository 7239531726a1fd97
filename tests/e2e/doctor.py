"""`doctor` of every program catches each mistake, names it, and ends with the exit code that the program itself would end with."""

import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

import harness
from bad_input import can_mount


class Doctor(harness.FederationTest):
    def setUp(self):
        super().setUp()
        self.parties = self.make("alpha")
        self.start(self.parties, workers=False)

    def data(self):
        return self.parties.directory / "data" / "alpha"

    def site(self, *, environment=(), **overrides):
        """The findings of `tributary-worker doctor`, by check, and its exit code."""
        config = self.parties.write_worker_config("alpha", overrides.pop("data", self.data()), **overrides)
        return self.findings("env", *environment, harness.BINARIES / "tributary-worker", "doctor", "--config", config)

    def findings(self, *command):
        result = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False, timeout=60)
        checks = json.loads(result.stdout)["checks"]
        return {check["check"]: (check["result"], check["detail"]) for check in checks}, result.returncode

    def assert_caught(self, examined, check, code, *words):
        findings, returned = examined
        self.assertEqual(findings[check][0], "fail", findings)
        for word in words:
            self.assertIn(word, findings[check][1])
        self.assertEqual(returned, code, findings)

    def full_disk(self, *options):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(("size=1m", *options)), "tributary-e2e", folder], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", folder], check=False)
        return str(folder)

    def other_authority(self):
        """A certificate of this site from a CA that the coordinator does not know."""
        other = harness.federation.Federation(self.folder / "other", harness.BINARIES, ["alpha"], name=self.parties.name)
        other.make_pki()
        return other.tls("site-alpha")

    def test_a_site_in_order(self):
        findings, code = self.site()
        self.assertEqual(code, 0, findings)
        self.assertEqual({name for name, (result, _) in findings.items() if result == "fail"}, set())
        self.assertEqual({"configuration", "certificate", "ca", "key", "clock", "data", "state folder", "memory", "consent", "sent", "path",
                          "coordinator", "clocks"} - set(findings), set())
        self.assertIn("never data", findings["sent"][1])
        by_operator = self.findings(harness.BINARIES / "tributary", "doctor", "--worker", self.parties.directory / "worker-alpha.yaml")
        self.assertEqual((set(by_operator[0]), by_operator[1]), (set(findings), 0))

    def test_certificates(self):
        tls = self.parties.tls("site-alpha")
        other = self.other_authority()
        self.assert_caught(self.site(tls={**tls, "ca": other["ca"]}), "certificate", harness.EXIT_CREDENTIALS)
        self.assert_caught(self.site(tls={**tls, "certificate": "nowhere.crt"}), "certificate", harness.EXIT_CREDENTIALS, "nowhere.crt")
        self.assert_caught(self.site(tls=self.parties.tls("operator-" + self.parties.operator_name)), "certificate",
                           harness.EXIT_CREDENTIALS, "is needed")
        # Good in itself, and of a CA that the coordinator does not have.
        self.assert_caught(self.site(tls=other), "coordinator", harness.EXIT_CREDENTIALS)

    def test_a_key_that_every_user_can_read_and_none_that_a_group_can_as_mounted_secrets_are(self):
        key = pathlib.Path(self.parties.tls("site-alpha")["key"])
        for mode, result in ((0o440, "ok"), (0o444, "warn")):
            key.chmod(mode)
            self.assertEqual(self.site()[0]["key"][0], result, oct(mode))

    def test_a_coordinator_that_is_not_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and nobody listens
            self.assert_caught(self.site(coordinator=f"127.0.0.1:{taken.getsockname()[1]}"), "coordinator", harness.EXIT_UNREACHABLE)
        self.assert_caught(self.site(coordinator="nowhere.invalid:443"), "coordinator", harness.EXIT_UNREACHABLE, "nowhere.invalid")

    def test_data(self):
        self.assert_caught(self.site(data=self.folder / "missing"), "data", harness.EXIT_DATA, "missing")
        (self.folder / "empty").mkdir()
        self.assert_caught(self.site(data=self.folder / "empty"), "data", harness.EXIT_DATA, "holds no files")

    @unittest.skipUnless(can_mount(), "needs root, to mount a small file system")
    def test_disks(self):
        self.assert_caught(self.site(state_dir=self.full_disk()), "state folder", harness.EXIT_STORAGE, "free some space")
        self.assert_caught(self.site(state_dir=self.full_disk("ro")), "state folder", harness.EXIT_STORAGE, "Read-only")

    def test_a_state_folder_below_a_file(self):
        self.assert_caught(self.site(state_dir=str(self.data() / "text.txt" / "state")), "state folder", harness.EXIT_STORAGE)

    def test_time_zones(self):
        findings, code = self.site(environment=["TZ=Europe/Berln"])
        self.assertEqual((findings["clock"][0], code), ("warn", 0), findings)
        # What a machine without tzdata has: nothing to look the zone up in.
        (self.folder / "no-zones").mkdir()
        examined = self.site(environment=[f"TZDIR={self.folder / 'no-zones'}", "TZ=Europe/Berlin"], quiet_hours=["22:00-06:00"])
        self.assert_caught(examined, "limits", harness.EXIT_USAGE, "tzdata")

    def test_proxies(self):
        self.assert_caught(self.site(proxy="socks5://proxy:1080"), "configuration", harness.EXIT_USAGE, "no HTTP proxy")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            examined = self.site(proxy=f"http://127.0.0.1:{port}")
            self.assertIn(f"through the proxy http://127.0.0.1:{port}", examined[0]["path"][1])
            self.assert_caught(examined, "coordinator", harness.EXIT_UNREACHABLE, "127.0.0.1")

    def test_losses_that_stay_at_the_site(self):
        self.assertIn("losses stay here", self.site(withhold_losses=True)[0]["sent"][1])

    def coordinator(self, **overrides):
        config = self.parties.write_coordinator_config(**overrides)
        return self.findings(harness.BINARIES / "tributary-coordinator", "doctor", "--config", config)

    def test_the_coordinators_machine(self):
        findings, code = self.coordinator()
        self.assertEqual(code, 0, findings)
        self.assertIn("running", findings["coordinator"][1])
        idle = str(self.folder / "idle")
        findings, code = self.coordinator(data_dir=idle, listen="127.0.0.1:0")
        self.assertEqual(code, 0, findings)
        self.assertEqual(findings["listen"][0], "ok")
        self.assert_caught(self.coordinator(data_dir=idle), "listen", harness.EXIT_USAGE, "another program is listening there")
        self.assert_caught(self.coordinator(tls=self.parties.tls("site-alpha")), "certificate", harness.EXIT_CREDENTIALS)
        shutil.copy(self.parties.pki / "ca.key", self.folder)
        self.assert_caught(self.coordinator(data_dir=str(self.folder / "ca.key")), "data folder", harness.EXIT_STORAGE)


if __name__ == "__main__":
    harness.main()
