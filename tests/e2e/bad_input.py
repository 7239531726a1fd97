"""What bad input gets: one clear message that says what to do, a documented exit code, and nothing on disk damaged."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import unittest

import harness


def fingerprint(folder):
    """{file: SHA-256} of a folder."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()}


def can_mount():
    return os.geteuid() == 0 and shutil.which("mount") is not None


class BadInput(harness.FederationTest):
    def assert_fails(self, process, code, *words, timeout=40):
        """The program ends with this exit code, and one of its last lines has all of these words."""
        self.assertEqual(process.wait(timeout), code, process.log_text())
        lines = [line for line in process.log_text().splitlines() if all(word in line for word in words)]
        self.assertTrue(lines, f"no line with {words} in:\n{process.log_text()}")

    def running(self, *sites):
        parties = self.make(*sites)
        self.start(parties, workers=False)
        return parties

    def data(self, parties, name="alpha"):
        return parties.directory / "data" / name

    def test_what_an_operator_asks_for_neither_ends_nor_stops_the_coordinator(self):
        parties = self.running("alpha")
        folder = parties.data_dir / "initial_weights"
        folder.mkdir()
        os.mkfifo(folder / "pipe")
        large = {"model": {"gpt": None, "mlp": {"inputs": 1000000, "hidden": [900000], "outputs": 2}},
                 "data": {"kind": "csv", "label_column": "y"}}
        for overrides, word in (({"model": {"initial_weights": "pipe"}}, "no regular file 'pipe'"),
                                ({"model": {"initial_weights": "/dev/ptmx"}}, "no file's name"), (large, "of memory")):
            with self.subTest(word):
                run_file = parties.write_yaml("run.yaml", harness.run_spec(**overrides))
                submitted = parties.tool("--config", parties.directory / "operator.yaml", "run", "submit", run_file, check=False)
                self.assertNotEqual(submitted.returncode, 0)
                self.assertIn(word, submitted.stderr)
        coordinator = parties.processes["coordinator"]
        coordinator.popen.terminate()
        self.assertEqual(coordinator.wait(20), 0, coordinator.log_tail())

    def test_a_missing_certificate(self):
        parties = self.running("alpha")
        parties.write_worker_config("alpha", self.data(parties), tls={"certificate": str(parties.pki / "nowhere.crt")})
        self.assert_fails(parties.start_worker("alpha"), harness.EXIT_CREDENTIALS, "nowhere.crt")

    def test_a_certificate_of_another_ca(self):
        parties = self.running("alpha")
        other = harness.federation.Federation(self.folder / "other", harness.BINARIES, ["alpha"], name="e2e")
        other.make_pki()
        parties.write_worker_config("alpha", self.data(parties), tls={**other.tls("site-alpha"), "ca": str(parties.pki / "ca.crt")})
        self.assert_fails(parties.start_worker("alpha"), harness.EXIT_CREDENTIALS, "site-alpha.crt", "not signed by the CA")

    def test_a_worker_that_trusts_another_ca_altogether(self):
        parties = self.running("alpha")
        other = harness.federation.Federation(self.folder / "other", harness.BINARIES, ["alpha"], name="e2e")
        other.make_pki()
        parties.write_worker_config("alpha", self.data(parties), tls=other.tls("site-alpha"))
        self.assert_fails(parties.start_worker("alpha", "--connect-timeout", "5s"), harness.EXIT_CREDENTIALS, "certificate")

    def expire(self, parties, stem, identity):
        """Issues STEM.crt of the federation's CA anew, for the same key, with a validity that ended yesterday."""
        extensions = parties.directory / "extensions"
        extensions.write_text(f"subjectAltName=URI:{identity}\nextendedKeyUsage=clientAuth\n", encoding="utf-8")
        tls, request = parties.tls(stem), parties.directory / "request.pem"
        for command in (["req", "-new", "-key", tls["key"], "-subj", "/CN=alpha", "-out", request],
                        ["x509", "-req", "-in", request, "-CA", tls["ca"], "-CAkey", parties.pki / "ca.key", "-set_serial", "7",
                         "-days", "-1", "-extfile", extensions, "-out", tls["certificate"]]):
            subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)

    @unittest.skipUnless(shutil.which("openssl"), "needs the program openssl, to make an expired certificate")
    def test_an_expired_certificate(self):
        parties = self.running("alpha")
        self.expire(parties, "site-alpha", "spiffe://e2e/site/alpha")
        parties.write_worker_config("alpha", self.data(parties))
        self.assert_fails(parties.start_worker("alpha"), harness.EXIT_CREDENTIALS, "site-alpha.crt expired on", "tributary pki issue")

    def test_a_site_that_is_not_in_the_registry(self):
        parties = self.running("alpha")
        parties.tool("pki", "issue", parties.pki, "--site", "stranger")
        parties.write_worker_config("stranger", self.data(parties))
        self.assert_fails(parties.start_worker("stranger", "--connect-timeout", "5s"), harness.EXIT_CREDENTIALS, "stranger")

    def test_a_site_may_not_operate(self):
        parties = self.running("alpha")
        parties.write_operator_config(tls=parties.tls("site-alpha"))
        result = parties.tool("--config", parties.directory / "operator.yaml", "run", "list", check=False)
        self.assertEqual(result.returncode, harness.EXIT_CREDENTIALS, result.stderr)

    def test_an_unreachable_coordinator(self):
        parties = self.running("alpha")
        parties.write_worker_config("alpha", self.data(parties))
        address = parties.address()
        parties.processes["coordinator"].stop()
        self.assert_fails(parties.start_worker("alpha", "--connect-timeout", "2s"), harness.EXIT_UNREACHABLE, address)
        result = parties.tool("--config", parties.directory / "operator.yaml", "run", "list", check=False)
        self.assertEqual(result.returncode, harness.EXIT_UNREACHABLE, result.stderr)
        self.assertIn(address, result.stderr)

    def submitted(self, spec=None):
        """A coordinator with an open run, for a worker whose data is wrong."""
        parties = self.running("alpha")
        self.submit(parties, **(spec or {}))
        return parties

    def test_an_empty_data_folder(self):
        parties = self.submitted()
        empty = parties.directory / "empty"
        empty.mkdir()
        parties.write_worker_config("alpha", empty)
        self.assert_fails(parties.start_worker("alpha"), harness.EXIT_DATA, str(empty))

    def test_text_that_is_not_utf_8(self):
        parties = self.submitted()
        (self.data(parties) / "latin1.txt").write_bytes("Grüße ".encode("latin-1") * 100)
        parties.write_worker_config("alpha", self.data(parties))
        self.assert_fails(parties.start_worker("alpha", "--once"), harness.EXIT_DATA, "latin1.txt: byte 2 is not UTF-8")

    OF_TABLES = {"model": {"gpt": None, "mlp": {"inputs": 2, "hidden": [4], "outputs": 3}}, "data": {"kind": "csv", "label_column": "y"}}

    def write_table(self, parties, *bad_rows):
        """A table for a run of OF_TABLES at alpha, with these rows from line 18 on."""
        table = parties.directory / "table"
        table.mkdir()
        rows = ["a,b,y"] + [f"{index},{index / 2},{index % 3}" for index in range(40)]
        rows[17:17 + len(bad_rows)] = bad_rows
        (table / "rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        parties.write_worker_config("alpha", table)

    def refusal(self, parties, run):
        """What the operator sees of alpha's refusal."""

        def refused():
            sites = parties.status(run).get("sites", [])
            return next((site["activity"] for site in sites if site["site"] == "alpha" and "refused" in site.get("activity", "")), None)

        return harness.federation.wait_until(refused, 30, "the operator to see the refusal")

    def test_a_table_with_a_bad_row(self):
        parties = self.submitted(self.OF_TABLES)
        self.write_table(parties, "1,2")
        worker = parties.start_worker("alpha")
        self.assertEqual(self.refusal(parties, harness.RUN), "refused: this site cannot train the run; its own log says why")
        self.assertIn("rows.csv:18:", worker.log_text())
        worker.stop()
        self.assert_fails(parties.start_worker("alpha", "--once"), harness.EXIT_DATA, "rows.csv:18:")

    def test_a_run_that_does_not_fit_the_data_is_refused_and_the_corrected_one_is_trained(self):
        parties = self.running("alpha")
        self.write_table(parties)
        worker = parties.start_worker("alpha")
        cases = (
            ({"data": {"label_column": "z"}}, "no column 'z' (the run's data.label_column)"),
            ({"model": {"mlp": {"inputs": 3}}}, "2 columns besides the label, but the run's model takes 3 (model.mlp.inputs)"),
            ({"model": {"mlp": {"outputs": 2}}}, "a label is not an integer from 0 to 1"),
            ({"data": {"kind": "text", "label_column": None}, "model": {"mlp": None, "gpt": {"context": 4096}}},
             "one sample takes 4097 bytes"),
        )
        for number, (mistake, words) in enumerate(cases):
            with self.subTest(mistake=mistake):
                name = f"wrong-{number}"
                self.submit(parties, name=name, **harness.federation.merged(self.OF_TABLES, mistake))
                refusal = self.refusal(parties, name)
                self.assertIn(words, refusal)
                self.assertNotIn("rows.csv", refusal)
                parties.operator("run", "stop", name)
                self.assertTrue(worker.running(), "one run's mistake must not end a worker that serves others")
        self.submit(parties, **self.OF_TABLES)
        self.assertEqual(parties.wait_for_end(harness.RUN, timeout=60)["state"], "finished")

    def test_a_run_that_the_site_refuses(self):
        parties = self.submitted({"participation": {"wait_timeout": "1m"}})
        parties.write_worker_config("alpha", self.data(parties), consent={"runs": ["other-*"], "models": ["gpt"]})
        worker = parties.start_worker("alpha")
        self.assertIn("consent.runs", self.refusal(parties, harness.RUN))
        self.assertTrue(worker.running(), "a refusal must not end a worker that serves other runs")
        worker.stop()
        self.assert_fails(parties.start_worker("alpha", "--once"), harness.EXIT_CONSENT, "consent.runs")

    def test_mistakes_in_configuration_files(self):
        parties = self.make("alpha")
        cases = (
            ({"lease": None, "leese": "30s"}, "leese", "lease"),
            ({"lease": 30}, "lease", "unit"),
            ({"lease": "2h"}, "lease"),
            ({"sites": ["Alpha"]}, "sites[0]"),
            ({"federation": None}, "federation"),
        )
        for overrides, *words in cases:
            with self.subTest(overrides=overrides):
                path = parties.write_coordinator_config(**overrides)
                process = parties.start("coordinator", "tributary-coordinator", "--config", path)
                self.assert_fails(process, harness.EXIT_USAGE, "coordinator.yaml:", *words)
                process.log_path.unlink()

    def test_mistakes_in_a_run_file(self):
        parties = self.running("alpha")
        cases = (
            ({"rounds": 0}, "rounds"),
            ({"optimizer": {"k": 5000}}, "k"),
            ({"optimizer": {"mode": "distrro"}}, "distro"),
            ({"model": {"gpt": {"width": 33}}}, "heads"),
            ({"participation": {"min_workers": 5, "max_workers": 2}}, "min_workers"),
            ({"data": {"kind": "csv"}}, "data.kind"),
        )
        for overrides, word in cases:
            with self.subTest(overrides=overrides):
                path = parties.write_yaml("run.yaml", harness.run_spec(**overrides))
                result = parties.tool("--config", parties.directory / "operator.yaml", "run", "submit", path, check=False)
                self.assertEqual(result.returncode, harness.EXIT_USAGE, result.stderr)
                self.assertIn(word, result.stderr)
        self.assertEqual(parties.operator("run", "list").get("runs", []), [])

    def finished(self, rounds=12):
        """A stopped federation whose journal holds a finished run and snapshots."""
        parties = self.make("alpha")
        parties.write_coordinator_config(snapshots={"every": 4, "keep": 2})
        self.start(parties)
        self.submit(parties, rounds=rounds)
        parties.wait_for_round(harness.RUN, 6, timeout=60)
        parties.processes["coordinator"].kill()
        parties.processes["worker-alpha"].stop()
        return parties

    def restart(self, parties):
        return parties.start("coordinator", "tributary-coordinator", "--config", parties.directory / "coordinator.yaml")

    def test_a_damaged_snapshot(self):
        parties = self.finished(rounds=5000)
        # Those that count: the kill may also have left half of one.
        journaled = json.loads(parties.tool("journal", "show", parties.data_dir, harness.RUN, "--format", "json").stdout)["snapshots"]
        snapshots = [parties.data_dir / "snapshots" / snapshot["file"] for snapshot in journaled]
        self.assertGreater(len(snapshots), 1)
        for snapshot in snapshots:
            content = bytearray(snapshot.read_bytes())
            content[len(content) // 2] ^= 1
            snapshot.write_bytes(content)
        (parties.data_dir / "endpoints.json").unlink()
        before = fingerprint(parties.data_dir)
        self.assert_fails(self.restart(parties), harness.EXIT_DAMAGED, "snapshot")
        after = fingerprint(parties.data_dir)
        for snapshot in snapshots:
            name = str(snapshot.relative_to(parties.data_dir))
            self.assertEqual(before[name], after[name])

    def test_a_damaged_journal(self):
        parties = self.finished(rounds=5000)
        journal = next(path for path in parties.data_dir.iterdir() if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3")
        with sqlite3.connect(journal) as database:  # fold the write-ahead log in, so that the damage is in what is read
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(journal.read_bytes())
        for place in range(4096, len(content), 4096):
            content[place:place + 64] = bytes(64)
        journal.write_bytes(content)
        self.assert_fails(self.restart(parties), harness.EXIT_DAMAGED, journal.name)
        self.assertEqual(journal.read_bytes(), bytes(content), "the damaged journal was changed")

    def test_a_journal_that_is_something_else(self):
        parties = self.make("alpha")
        parties.start_coordinator()
        parties.processes["coordinator"].stop()
        journal = next(path for path in parties.data_dir.iterdir() if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3")
        journal.write_bytes(b"Dear diary, today nothing was committed.\n" * 200)
        self.assert_fails(self.restart(parties), harness.EXIT_DAMAGED, journal.name)

    @unittest.skipUnless(can_mount(), "needs root, to mount a small file system")
    def test_a_full_disk(self):
        parties = self.make("alpha")
        parties.data_dir.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tributary-e2e", str(parties.data_dir)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(parties.data_dir)], check=False)
        self.start(parties)
        self.submit(parties, rounds=100_000)
        coordinator = parties.processes["coordinator"]
        self.assert_fails(coordinator, harness.EXIT_STORAGE, "No space left on device", "free some space", timeout=120)
        committed = max(int(number) for number in re.findall(r"round (\d+) committed", coordinator.log_text()))

        subprocess.run(["mount", "-o", "remount,size=64m", str(parties.data_dir)], check=True)
        parties.start_coordinator()
        self.assertGreaterEqual(parties.status(harness.RUN)["round"], committed)
        parties.wait_for_round(harness.RUN, committed + 5, timeout=60)

    @unittest.skipUnless(can_mount(), "needs root, to mount a small file system")
    def test_folders_that_cannot_be_written_are_noticed_at_start(self):
        parties = self.running("alpha")
        folder = parties.directory / "read-only"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tributary-e2e", str(folder)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
        config = parties.write_worker_config("alpha", self.data(parties), state_dir=str(folder))
        self.assert_fails(parties.start_worker("alpha"), harness.EXIT_STORAGE, "state_dir: cannot write ", "Read-only file system")
        doctor = parties.tool("doctor", "--worker", config, check=False)
        self.assertIn("Read-only file system", doctor.stdout)
        self.assertEqual(doctor.returncode, harness.EXIT_STORAGE)
        config = parties.write_coordinator_config(data_dir=str(folder))
        self.assert_fails(parties.start("second", "tributary-coordinator", "--config", config), harness.EXIT_STORAGE,
                          "data_dir: cannot write ", "Read-only file system")

    def test_a_model_that_does_not_fit_into_memory(self):
        parties = self.running("alpha")
        run_file = parties.write_yaml("large.yaml", {
            "name": "large", "rounds": 4, "model": {"mlp": {"inputs": 2, "hidden": [900_000, 1_000_000], "outputs": 2}},
            "data": {"kind": "csv", "label_column": "y"}, "optimizer": {"mode": "allreduce", "learning_rate": {"peak": 0.01}}})
        submitted = parties.tool("--config", parties.directory / "operator.yaml", "run", "submit", run_file, check=False)
        self.assertEqual(submitted.returncode, harness.EXIT_USAGE, submitted.stderr)
        self.assertRegex(submitted.stderr, r"run large needs, on the coordinator, \d+\.\d+ TiB of memory \(.*\), and .* are available")
        self.assertTrue(parties.processes["coordinator"].running())


if __name__ == "__main__":
    harness.main()
