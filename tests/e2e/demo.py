"""The demo as a newcomer runs it, short: its outputs are complete and true, and a signal leaves no process behind."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import harness

KEYS = ("rounds", "val_loss_first", "val_loss_last", "solo_val_loss", "unigram_val_loss", "bytes_up_per_step", "bytes_down_per_step",
        "dense_bytes_per_step", "reduction", "hashes", "wall_seconds")


def processes_with(text):
    """Ids of the processes whose command line has `text` in it, without this one."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                    found.append(int(entry.name))
            except OSError:
                pass  # ended meanwhile
    return found


class Demo(unittest.TestCase):
    def start(self, folder, *arguments):
        command = [sys.executable, str(harness.ROOT / "deploy" / "demo.py"), "--binaries", str(harness.BINARIES),
                   "--work-dir", folder, *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_a_short_demo_writes_a_complete_report(self):
        with tempfile.TemporaryDirectory(prefix="tributary-demo-") as folder:
            demo = self.start(folder, "--rounds", "6", "--workers", "2", "--format", "json")
            output, log = demo.communicate(timeout=240)
            self.assertEqual(demo.returncode, 0, log)
            summary = json.loads(output)
            self.assertEqual(summary, json.loads((pathlib.Path(folder) / "summary.json").read_text(encoding="utf-8")))
            for key in KEYS:
                self.assertIn(key, summary)
            self.assertEqual(summary["rounds"], 6)
            self.assertEqual(set(summary["hashes"]), {"coordinator", "site-1", "site-2"})
            self.assertEqual(len(set(summary["hashes"].values())), 1)
            self.assertAlmostEqual(summary["reduction"],
                                   summary["dense_bytes_per_step"] / (summary["bytes_up_per_step"] + summary["bytes_down_per_step"]),
                                   places=6)
            with open(pathlib.Path(folder) / "rounds.csv", newline="", encoding="utf-8") as file:
                rounds = [row for row in csv.DictReader(file) if int(row["round"]) > 0]
            self.assertEqual(len(rounds), 6)
            page = (pathlib.Path(folder) / "report.html").read_text(encoding="utf-8")
            self.assertIn("<svg", page)
            self.assertIn("one site alone, same steps", page)
            self.assertNotIn("AdamW", page, "a curve of other settings compares nothing")
            self.assertNotRegex(page, r"(src|href)=|url\(", "the report needs something from outside")
            self.assertTrue((pathlib.Path(folder) / "model.safetensors").exists())
            self.assertEqual(processes_with(folder), [])

    def test_a_signal_ends_everything(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number.name), tempfile.TemporaryDirectory(prefix="tributary-demo-") as folder:
                demo = self.start(folder, "--rounds", "5000", "--workers", "3")
                harness.federation.wait_until(lambda folder=folder: len(processes_with(folder)) >= 5 or demo.poll() is not None, 60,
                                              "coordinator, workers and watcher to run")
                self.assertIsNone(demo.poll(), "the demo ended too early")
                demo.send_signal(number)
                _, log = demo.communicate(timeout=60)
                self.assertEqual(demo.returncode, 128 + number, log)
                self.assertEqual(processes_with(folder), [], log)

    def test_a_folder_with_other_files_is_left_alone(self):
        with tempfile.TemporaryDirectory(prefix="tributary-demo-") as folder:
            mine = pathlib.Path(folder) / "thesis.txt"
            mine.write_text("chapter one", encoding="utf-8")
            demo = self.start(folder)
            _, log = demo.communicate(timeout=60)
            self.assertEqual(demo.returncode, 2)
            self.assertIn("holds files that are not from a demo", log)
            self.assertTrue(mine.exists())


if __name__ == "__main__":
    harness.main()
