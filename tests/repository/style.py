"""Checks the house rules of CONTRIBUTING.md that a script can check."""

import re
import sys
import urllib.parse

import tree

_MAX_LINES = 600
_CODE = (".cc", ".h")
_TEXT = (".cc", ".h", ".py", ".sh", ".md", ".proto", ".cmake", ".yaml", ".yml", ".txt", ".json")
# (pattern, files it is banned in, files it is allowed in, what to do instead)
_BANNED = (
    (r"\b(TODO|FIXME|XXX)\b", r".*\.(cc|h|py|sh|proto|cmake)$", r"^tests/repository/style\.py$", "finish it, or open an issue"),
    (r"std::chrono::(system|steady|high_resolution)_clock::now|absl::Now\(|\bgettimeofday\(|\bclock_gettime\(", r".*\.(cc|h)$",
     r"^(common/clock\.cc$|tests/bench/)", "take a Clock (common/clock.h)"),
    (r"\bsleep_for\(|\bSleepFor\(|\busleep\(|\btime\.sleep\(|^\s*sleep \d", r"^(tests|common|optim|proto|coordinator|worker|cli|sim)/",
     r"^tests/repository/style\.py$", "wait for a condition with a deadline"),
    (r"\bgetenv\(", r"^(common|optim|proto|coordinator|worker|cli|sim)/.*\.(cc|h)$", r"(^|/)main\.cc$",
     "read the environment in main only"),
    (r"using namespace", r".*\.(cc|h)$", r"^tests/.*\.cc$", "name what you use"),
    (r"""["'][^"'\s]*:(8443|8081|9464|50051)["']""", r"^tests/e2e/", r"^$", "bind port zero"),
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def check_bans(path):
    name = str(path)
    for pattern, where, allowed, advice in _BANNED:
        if re.search(where, name) and not re.search(allowed, name):
            for number, line in enumerate(tree.text(path).splitlines(), start=1):
                match = re.search(pattern, line)
                if match:
                    yield f"{name}:{number}: {match[0].strip()}: {advice}"


def check_header(path):
    lines = tree.text(path).splitlines()
    guard = "TRIBUTARY_" + re.sub(r"[^A-Z0-9]", "_", str(path).upper()) + "_"
    if f"#ifndef {guard}" not in lines or f"#define {guard}" not in lines:
        yield f"{path}: the include guard must be {guard}"
    if not lines or not lines[0].startswith("// "):
        yield f"{path}:1: a header opens with a comment that says its purpose"


def check_text(path):
    content = tree.text(path)
    if content and not content.endswith("\n"):
        yield f"{path}: no newline at the end"
    for number, line in enumerate(content.splitlines(), start=1):
        if line != line.rstrip():
            yield f"{path}:{number}: white space at the end of the line"
        if "\t" in line and path.suffix in (".cc", ".h", ".py", ".proto", ".yaml"):
            yield f"{path}:{number}: a tab"
    if path.suffix in (".cc", ".h", ".py", ".sh") and len(content.splitlines()) > _MAX_LINES:
        yield f"{path}: {len(content.splitlines())} lines; a file should be readable in one sitting ({_MAX_LINES})"


def _anchors(path):
    """GitHub's anchors of the headings of a document."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(tree.text(path))}


def check_links(path):
    for match in _LINK.finditer(tree.text(path)):
        target = match[1]
        if re.match(r"^[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        number = tree.text(path).count("\n", 0, match.start()) + 1
        file = (tree.ROOT / path).parent / urllib.parse.unquote(place) if place else tree.ROOT / path
        if not file.exists():
            yield f"{path}:{number}: link to {target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file.resolve().relative_to(tree.ROOT)):
            yield f"{path}:{number}: link to {target}: no such heading"


def main():
    problems = []
    for path in tree.files():
        if path.suffix in _TEXT:
            problems += check_text(path)
            problems += check_bans(path)
        if path.suffix == ".h":
            problems += check_header(path)
        if path.suffix == ".md":
            problems += check_links(path)
    return tree.report(problems, "style")


if __name__ == "__main__":
    sys.exit(main())
