"""Checks the house rules of CONTRIBUTING.md that a script can check."""

import collections
import re
import sys
import urllib.parse

import tree

# A file should be readable in one sitting; a test may list more cases.
_MAX_LINES, _MAX_TEST_LINES = 500, 600
_MAX_COLUMNS = 140
# Source files over which the definitions of one class may spread.
_MAX_CLASS_FILES = 2
_CODE = (".cc", ".h")
_TEXT = (".cc", ".h", ".inc", ".py", ".sh", ".md", ".proto", ".cmake", ".yaml", ".yml", ".txt", ".json")
# (pattern, files it is banned in, files it is allowed in, what to do instead)
_BANNED = (
    (r"\b(TODO|FIXME|XXX)\b", r".*\.(cc|h|py|sh|proto|cmake)$", r"^tests/repository/style\.py$", "finish it, or open an issue"),
    (r"std::chrono::(system|steady|high_resolution)_clock::now|absl::Now\(|\bgettimeofday\(|\bclock_gettime\(", r".*\.(cc|h)$",
     r"^(common/clock\.cc$|tests/bench/)", "take a Clock (common/clock.h)"),
    (r"\bsleep_for\(|\bSleepFor\(|\busleep\(|\btime\.sleep\(|^\s*sleep \d", r"^(tests|common|optim|proto|coordinator|worker|cli|sim)/",
     r"^tests/repository/style\.py$", "wait for a condition with a deadline"),
    (r"\bgetenv\(", r"^(common|optim|proto|coordinator|worker|cli|sim)/.*\.(cc|h)$", r"(^|/)main\.cc$",
     "read the environment in main only"),
    (r"IgnoreError\(\)(?!.*//)", r".*\.(cc|h)$", r"^$", "say behind it why no error is hidden"),
    (r"\(void\) ?[\w:]+[(.-]|std::ignore", r".*\.(cc|h)$", r"^tests/bench/",
     "look at the result, or say IgnoreError() and why"),
    (r"using namespace", r".*\.(cc|h)$", r"^tests/.*\.cc$", "name what you use"),
    (r"^(<{7}|>{7}|\|{7})( |$)", r"", r"^$", "settle the merge"),
    (r"""["'][^"'\s]*:(8443|8081|9464|50051)["']""", r"^tests/e2e/", r"^$", "bind port zero"),
)
_BANNER = re.compile(r"^\s*(?:(?:(?://|/\*) ?([-=*~#_])\1+|# ?([-=*~_])\2+)(?:\s|$)|/{4,}|#{4,}\s*$)")
# What is not code: literals, comments, lines of the preprocessor.
_NO_CODE = re.compile(r"""R"([^(\s]*)\(.*?\)\1"|"(?:[^"\\\n]|\\.)*"|(?<![0-9A-Za-z])'(?:[^'\\\n]|\\.)+'|//[^\n]*|/\*.*?\*/|"""
                      r"""^\s*\#(?:[^\n\\]|\\.|\\\n)*""", re.DOTALL | re.MULTILINE)
_BRANCH = re.compile(r"\b(?:if|for|while)\b(?:\s+constexpr)?\s*\(|\belse\b|\bdo\b")
# The definition of a member function: it begins in the first column.
_DEFINITION = re.compile(r"^(?![\s#}/]|using |namespace )[^(=;]*?\b((?:\w+::)*)([A-Z]\w*)(?:<[^>]*>)?::(?:~?\w+|operator[^(]+)\(",
                         re.MULTILINE)
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


def check_columns(path):
    """Of a document tables, targets of links and what is shown verbatim do not count."""
    verbatim = False
    for number, line in enumerate(tree.text(path).splitlines(), start=1):
        if path.suffix == ".md":
            verbatim ^= line.startswith("```")
            line = "" if verbatim else line
            line = "" if line.lstrip().startswith("|") else re.sub(r"\]\([^)]*\)", "]()", line)
        if len(line) > _MAX_COLUMNS:
            yield f"{path}:{number}: {len(line)} columns; at most {_MAX_COLUMNS}"


def check_banners(path):
    for number, line in enumerate(tree.text(path).splitlines(), start=1):
        if _BANNER.match(line):
            yield f"{path}:{number}: a banner; say what the next lines do, or nothing"


def check_braces(path):
    """Every branch and loop has braces, also around one line."""
    code = _NO_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), tree.text(path))
    for match in _BRANCH.finditer(code):
        end = match.end()
        if match[0].endswith("("):
            depth = 1
            while depth > 0 and end < len(code):
                depth += {"(": 1, ")": -1}.get(code[end], 0)
                end += 1
        body = code[end:end + 200].lstrip()
        chained = match[0] == "else" and re.match(r"if\b", body)
        end_of_do = match[0].startswith("while") and body.startswith(";")
        if not body.startswith("{") and not chained and not end_of_do:
            yield f"{path}:{code.count(chr(10), 0, match.start()) + 1}: braces around the body, also of one line"


def check_shape(path):
    limit = _MAX_TEST_LINES if path.parts[0] == "tests" else _MAX_LINES
    lines = len(tree.text(path).splitlines())
    if path.suffix in (".cc", ".h", ".inc", ".py", ".sh") and lines > limit:
        yield f"{path}: {lines} lines; at most {limit}"
    yield from check_banners(path)
    if path.suffix != ".json":
        yield from check_columns(path)
    if path.suffix in _CODE:
        yield from check_braces(path)


def check_classes():
    """The source files of production over which one class spreads."""
    places = collections.defaultdict(set)
    for path in tree.with_suffix(".cc"):
        if path.parts[0] != "tests":
            for match in _DEFINITION.finditer(tree.text(path)):
                places[path.parent, match[1] + match[2]].add(path.name)
    for (folder, name), files in sorted(places.items()):
        if len(files) > _MAX_CLASS_FILES:
            yield f"{folder}: {name} is defined in {len(files)} files, at most {_MAX_CLASS_FILES}: {', '.join(sorted(files))}"


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
            problems += check_shape(path)
        if path.suffix == ".h":
            problems += check_header(path)
        if path.suffix == ".md":
            problems += check_links(path)
    problems += check_classes()
    return tree.report(problems, "style")


if __name__ == "__main__":
    sys.exit(main())
