#!/usr/bin/env python3
"""Packs a built worker with every library it needs, the C library and its loader included, into one folder that runs anywhere.

Usage: worker_tarball.py BUILD_DIR OUT [--folder]

  BUILD_DIR   a release build, such as build/release
  OUT         folder for tributary-worker-VERSION-linux-MACHINE.tar.gz (made if missing)
  --folder    leave the folder itself there, and make no archive of it

The same build gives the same bytes. Needs binutils and a C compiler. Standard library only.
"""

import argparse
import gzip
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile

import libraries

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PROGRAM = "tributary-worker"
_EXAMPLES = ("worker-berlin.yaml", "worker-lyon.yaml")

# The loader runs the program with the libraries next to it, whatever LD_LIBRARY_PATH says; a link to this script works too.
_LAUNCHER = """\
#!/bin/sh
# Starts the worker with the loader and the libraries of this folder, which may lie anywhere.
self=$(readlink -f "$0") || exit 1
home=${{self%/bin/*}}
exec "$home/lib/{loader}" --argv0 {program} --library-path "$home/lib" "$home/libexec/{program}" "$@"
"""


def make_folder(build_dir, out):
    program = build_dir / "bin" / _PROGRAM
    if not program.exists():
        raise libraries.PackError(f"{program} is missing; build it: cmake --build {build_dir} --target {_PROGRAM}")
    folder = out / f"{_PROGRAM}-{libraries.version_of(program)}-linux-{platform.machine()}"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "lib", "libexec", "share/licenses", "share/examples", "share/systemd"):
        (folder / name).mkdir(parents=True)
    kept, left_out, loader = libraries.lay_out([program], folder / "lib")
    subprocess.run(["strip", "--strip-debug", "-o", str(folder / "libexec" / _PROGRAM), str(program)], check=True)
    launcher = folder / "bin" / _PROGRAM
    launcher.write_text(_LAUNCHER.format(loader=loader, program=_PROGRAM), encoding="utf-8")
    launcher.chmod(0o755)
    libraries.describe_libraries(kept, left_out, folder / "share" / "licenses")
    for name in _EXAMPLES:
        shutil.copyfile(_ROOT / "deploy" / "examples" / name, folder / "share" / "examples" / name)
    unit = _ROOT / "deploy" / "systemd" / f"{_PROGRAM}.service"
    (folder / "share" / "systemd" / unit.name).write_text(
        unit.read_text(encoding="utf-8").replace("/usr/bin/", f"/opt/{_PROGRAM}/bin/"), encoding="utf-8")
    return folder


def archive(folder):
    """One .tar.gz whose bytes depend on the content alone."""
    target = folder.with_name(folder.name + ".tar.gz")
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))

    def plain(info):
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        info.mtime = seconds
        return info

    with open(target, "wb") as raw, gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=seconds) as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(folder, folder.name, recursive=False, filter=plain)
            for path in sorted(folder.rglob("*")):
                tar.add(path, str(path.relative_to(folder.parent)), recursive=False, filter=plain)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build_dir", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--folder", action="store_true", help="leave the folder, and make no archive")
    arguments = parser.parse_args()
    try:
        folder = make_folder(arguments.build_dir, arguments.out)
    except (libraries.PackError, subprocess.CalledProcessError) as error:
        print(f"worker_tarball: {error}", file=sys.stderr)
        return 1
    if arguments.folder:
        print(folder)
        return 0
    print(archive(folder))
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
