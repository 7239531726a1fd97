"""Installs the build below itself, builds the consumer against what was installed, and compares its round with the tree's own.

Usage: installed.py BUILD_DIR ONE_ROUND    (the consumer's program as the tree builds it)
"""

import os
import pathlib
import shutil
import subprocess
import sys

_CONSUMER = pathlib.Path(__file__).resolve().parent
_PROGRAMS = ("tributary", "tributary-coordinator", "tributary-worker", "tributary-sim")


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def main(build_dir, one_round):
    build_dir = pathlib.Path(build_dir).resolve()
    place = build_dir / "consumer"
    shutil.rmtree(place, ignore_errors=True)
    prefix, consumer = place / "prefix", place / "build"
    run("cmake", "--install", build_dir, "--prefix", prefix)
    run("cmake", "-S", _CONSUMER, "-B", consumer, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", consumer)

    problems = []
    ours, theirs = run(one_round), run(consumer / "one_round")
    print(f"in the tree: {ours}installed:   {theirs}", end="")
    if ours != theirs or not ours.startswith("state 1 "):
        problems.append("the installed update algebra leads to another state")
    if (build_dir / "bin" / "tributary").exists():
        for program in _PROGRAMS:
            version = run(prefix / "bin" / program, "--version")
            if not version.startswith(f"{program} "):
                problems.append(f"bin/{program} --version says {version!r}")
        if not (prefix / "share" / "tributary" / "examples" / "coordinator.yaml").exists():
            problems.append("share/tributary/examples has no coordinator.yaml")
    outside = [path for path in prefix.iterdir() if path.name not in ("bin", "include", "lib", "lib64", "share")]
    problems += [f"{path.name} is not a folder of an installation prefix" for path in outside]
    for problem in problems:
        print(problem)
    shutil.rmtree(place)
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ["CLICOLOR"] = "0"
    sys.exit(main(*sys.argv[1:]))
