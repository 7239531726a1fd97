"""Runs one linter over the files it is for.

Usage: lint.py clang-format | clang-tidy BUILD_DIR | shellcheck | yamllint
Exits with 77 (skipped) and a reason where the linter is not installed.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import tree

_SKIPPED = 77
_TIDY_SECONDS = 240
_HEAVY = re.compile(r"^(torch|ATen|c10|grpc|grpcpp|google/protobuf|prometheus|yaml-cpp)/|\.pb\.h$|^httplib\.h$")


def find(*names):
    """The first of these programs that is installed."""
    for name in names:
        if shutil.which(name):
            return name
    print(f"skipped: {names[0]} is not installed (bash deploy/install-deps.sh --tests)")
    sys.exit(_SKIPPED)


def run_over(command, paths):
    if not paths:
        print("no files")
        return 0
    result = subprocess.run([*command, *map(str, paths)], cwd=tree.ROOT, check=False)
    print(f"{command[0]}: {len(paths)} files, {'clean' if result.returncode == 0 else 'with findings'}")
    return 1 if result.returncode else 0


def clang_format():
    # The version is part of the rule: another one formats differently.
    return run_over([find("clang-format-14"), "--dry-run", "-Werror", "--style=file"], tree.with_suffix(".cc", ".h"))


def shellcheck():
    scripts = [path for path in tree.files()
               if path.suffix == ".sh" or (path.suffix == "" and tree.text(path).startswith("#!/usr/bin/env bash"))]
    return run_over([find("shellcheck"), "-x"], scripts)


def yamllint():
    config = "{extends: relaxed, rules: {line-length: {max: 160}, truthy: enable}}"
    # A chart's templates are YAML only once they are rendered, which tests/chart does.
    paths = [path for path in tree.with_suffix(".yaml", ".yml") if "templates" not in path.parts]
    return run_over([find("yamllint"), "--strict", "-d", config], paths)


def _fingerprint(path, command):
    """Changes when anything that clang-tidy sees of our own changes."""
    digest = hashlib.sha256(command.encode() + (tree.ROOT / ".clang-tidy").read_bytes() + (tree.ROOT / path).read_bytes())
    known = set(tree.files())
    for name in sorted(tree.all_includes(path)):
        if pathlib.PurePosixPath(name) in known:
            digest.update((tree.ROOT / name).read_bytes())
    return digest.hexdigest()


def clang_tidy(build_dir):
    """Only files without the slow headers of gRPC, Protocol Buffers and LibTorch: the pure parts, where the logic is. Clean ones are
    remembered in the build folder until they change. No file is begun after _TIDY_SECONDS: the next run goes on with what is left."""
    program = find("clang-tidy-14")
    build_dir = pathlib.Path(build_dir)
    commands = {entry["file"]: entry["command"] for entry in json.loads((build_dir / "compile_commands.json").read_text(encoding="utf-8"))}
    memory_path = build_dir / "clang-tidy-clean.json"
    memory = json.loads(memory_path.read_text(encoding="utf-8")) if memory_path.exists() else {}

    candidates = []
    for path in tree.with_suffix(".cc"):
        command = commands.get(str(tree.ROOT / path))
        if command and path.parts[0] != "tests" and not any(_HEAVY.search(name) for name in tree.all_includes(path)):
            candidates.append((path, _fingerprint(path, command)))
    waiting = [(path, fingerprint) for path, fingerprint in candidates if memory.get(str(path)) != fingerprint]

    begun = time.monotonic()

    def check(entry):
        path, fingerprint = entry
        if time.monotonic() - begun > _TIDY_SECONDS:
            return path, fingerprint, None
        result = subprocess.run([program, "-p", str(build_dir), "--quiet", "--extra-arg=-Wno-unknown-warning-option", str(path)],
                                cwd=tree.ROOT, capture_output=True, text=True, check=False)
        return path, fingerprint, result

    failed = False
    left = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for path, fingerprint, result in pool.map(check, waiting):
            if result is None:
                left += 1
            elif result.returncode == 0:
                memory[str(path)] = fingerprint
            else:
                failed = True
                print(f"--- {path}\n{result.stdout}{result.stderr}")
    memory_path.write_text(json.dumps(memory), encoding="utf-8")
    print(f"{program}: {len(candidates)} files, {len(candidates) - len(waiting)} unchanged since they were clean, "
          f"{left} left for the next run, {'with findings' if failed else 'clean'}")
    return 1 if failed else 0


_LINTERS = {"clang-format": clang_format, "clang-tidy": clang_tidy, "shellcheck": shellcheck, "yamllint": yamllint}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _LINTERS:
        sys.exit(__doc__)
    sys.exit(_LINTERS[sys.argv[1]](*sys.argv[2:]))
