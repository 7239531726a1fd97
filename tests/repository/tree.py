"""The repository's files and who includes whom: what the checks in this folder stand on."""

import functools
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
_INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
_SKIPPED_FOLDERS = {"build", ".git", ".ccache", ".cache", "__pycache__"}


@functools.lru_cache(maxsize=None)
def files():
    """Every file that belongs to the repository, as paths relative to its root."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True,
                            check=False)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return sorted(path for path in map(pathlib.PurePosixPath, names) if (ROOT / path).is_file())
    # Not a checkout (an unpacked archive): everything but build outputs.
    return sorted(pathlib.PurePosixPath(path.relative_to(ROOT).as_posix()) for path in ROOT.rglob("*")
                  if path.is_file() and not _SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts))


def with_suffix(*suffixes):
    return [path for path in files() if path.suffix in suffixes]


@functools.lru_cache(maxsize=None)
def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=None)
def includes(path):
    """What the file includes itself: [(name, line)]."""
    content = text(path)
    return [(match[2], content.count("\n", 0, match.start(2)) + 1) for match in _INCLUDE.finditer(content)]


@functools.lru_cache(maxsize=None)
def all_includes(path):
    """Every include that reaches the file, through the repository's own headers: {name: file it stands in}."""
    reached = {}
    waiting, seen = [path], {path}
    known = set(files())
    while waiting:
        current = waiting.pop()
        for name, _ in includes(current):
            reached.setdefault(name, current)
            own = pathlib.PurePosixPath(name)
            if own in known and own not in seen:
                seen.add(own)
                waiting.append(own)
    return reached


def report(problems, what):
    """Prints the problems; returns the exit code."""
    for problem in problems:
        print(problem)
    print(f"{what}: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0
