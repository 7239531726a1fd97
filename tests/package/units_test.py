"""The systemd units: valid, hardened, and restarting by the documented table of exit codes."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_UNITS = sorted((_ROOT / "deploy" / "systemd").glob("*.service"))
# By systemd's own scale from 0, which is the tightest, to 10.
_MOST_EXPOSURE = 2.0
_SKIPPED = 77


def documented(what):
    """Exit codes of which the table says `what` of a service manager."""
    table = (_ROOT / "docs" / "reference" / "exit_codes.md").read_text(encoding="utf-8")
    return {code for code, row in re.findall(r"^\| (\d+) \|(.*)$", table, re.MULTILINE) if row.split("|")[-2].strip() == what}


def setting(unit, name):
    return set(" ".join(re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)).split())


class Units(unittest.TestCase):
    def test_both_services_are_there(self):
        self.assertEqual([unit.stem for unit in _UNITS], ["tributary-coordinator", "tributary-worker"])

    def test_what_only_a_person_can_correct_is_not_tried_again(self):
        of_a_site = {"5", "6", "12"}
        for unit in _UNITS:
            with self.subTest(unit.name):
                leaves = documented("leaves it") - (set() if "worker" in unit.name else of_a_site)
                self.assertEqual(setting(unit, "RestartPreventExitStatus"), leaves)
                self.assertEqual(setting(unit, "SuccessExitStatus"), documented("counts as success"))
                self.assertEqual(setting(unit, "Restart"), {"on-failure"})

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_systemd_accepts_them(self):
        with tempfile.TemporaryDirectory() as folder:
            for unit in _UNITS:
                with self.subTest(unit.name):
                    # The program need not be installed here; everything else is checked as it is.
                    copy = pathlib.Path(folder) / unit.name
                    copy.write_text(re.sub(r"/usr/bin/tributary-\w+", "/bin/true", unit.read_text(encoding="utf-8")), encoding="utf-8")
                    result = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
                                            capture_output=True, text=True, check=False)
                    self.assertEqual((result.returncode, result.stderr), (0, ""))

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_they_are_hardened(self):
        for unit in _UNITS:
            with self.subTest(unit.name):
                result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True,
                                        text=True, check=True, env={**os.environ, "LC_ALL": "C"})
                exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)[1])
                self.assertLessEqual(exposure, _MOST_EXPOSURE, result.stdout)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(_SKIPPED if program.result.skipped else 0)
