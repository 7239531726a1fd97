"""Checks that no absl::Status is dropped: that the compiler, with the flags that all our code has, refuses one that nobody looks at, and
that every local one is looked at after it was set.

Usage: dropped_status.py COMPILER FLAG...
(style.py asks behind every IgnoreError() why it hides nothing, and bans casts to void.)
"""

import re
import subprocess
import sys

import tree

# One way to drop a status a line.
_DROPS = ("F();", "G();", "s.M();", "s.N();", "[] { return F(); }();", "for (; b; F()) { b = false; }")
_SOURCE = """#include "absl/status/status.h"
#include "absl/status/statusor.h"
absl::Status F();
absl::StatusOr<int> G();
struct S { absl::Status M() const; static absl::StatusOr<bool> N(); };
bool H(S& s, bool b) {
%s
return b; }
"""
_FIRST_LINE = 7
_LOCAL = re.compile(r"^ +(?:const )?absl::Status(?:Or<[^;=\n]*>)? (\w+) = ", re.MULTILINE)


def compile_text(command, text):
    return subprocess.run([*command, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"], input=text, capture_output=True, text=True,
                          check=False)


def accepted_drops(command):
    """What the compiler lets pass."""
    if compile_text(command, _SOURCE % "return F().ok() && G().ok();").returncode != 0:
        yield f"{command[0]} does not compile what drops nothing"
    errors = compile_text(command, _SOURCE % "\n".join(_DROPS)).stderr
    for number, drop in enumerate(_DROPS, start=_FIRST_LINE):
        if not re.search(rf":{number}:\d+: error: .*unused-result", errors):
            yield f"{command[0]} accepts `{drop}`, which drops a status"


def unread_locals(path):
    text = re.sub(r"//[^\n]*", lambda match: " " * len(match[0]), tree.text(path))
    for match in _LOCAL.finditer(text):
        end = text.find("\n}", match.end())
        if not re.search(rf"\b{match[1]}\b", text[match.end():end if end >= 0 else None]):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: nobody looks at {match[1]}"


def main():
    problems = list(accepted_drops(sys.argv[1:]))
    for path in tree.with_suffix(".cc"):
        problems += unread_locals(path)
    return tree.report(problems, "dropped statuses")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main())
