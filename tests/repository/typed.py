"""Checks the types of the Python package, and of an example as its user sees it: mypy --strict."""

import os
import subprocess
import sys

import tree

PACKAGE = tree.ROOT / "python"


def main():
    for command in (["mypy"], [sys.executable, "-m", "mypy"], ["/usr/bin/python3", "-m", "mypy"]):
        try:
            if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
                break
        except OSError:
            continue
    else:
        print("skipped: mypy is not installed (Debian: mypy)")
        return 77
    environment = {**os.environ, "MYPYPATH": str(PACKAGE)}
    quiet = ("--cache-dir", os.devnull, "--config-file", PACKAGE / "pyproject.toml")
    failed = [subprocess.run([*command, *quiet, *what], cwd=PACKAGE, env=environment, check=False).returncode != 0
              for what in (("-p", "tributary"), (tree.ROOT / "deploy" / "examples" / "simulate_sites.py",))]
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
