#!/usr/bin/env python3
"""Makes what of the chart is made: README.md out of the comments of values.yaml, and files/ out of deploy/.

    python3 helm/generate.py [--check]

`--check` writes nothing, and ends with 1 if anything would change. Needs python3-yaml.
"""

import argparse
import json
import pathlib
import re
import sys

import yaml

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_CHART = _ROOT / "helm" / "tributary"
_KEY = re.compile(r"^( *)([\w.]+):")
_INTRODUCTION = """# Tributary's chart

Runs the coordinator of a federation on Kubernetes, workers beside it if wanted, or only the worker of an institution.
From nothing to the first round: [deploy on Kubernetes](../../docs/how-to/deploy_on_kubernetes.md).
```
helm install federation helm/tributary --namespace federation --create-namespace --values my-values.yaml
```
Required are `federation`, `sites`, `operators`, a certificate in `tls`, and images that the cluster can pull. Examples:
[ci/](ci). `helm/generate.py` makes this page out of the comments in [values.yaml](values.yaml); unknown keys are refused by
[values.schema.json](values.schema.json).
"""


def documented(text):
    """[(path, comment)] of every key, in the file's order."""
    found, path, comment = [], [], []
    for line in text.splitlines():
        key = _KEY.match(line)
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip().removeprefix("#").strip())
        elif key:
            path = [*path[:len(key[1]) // 2], key[2]]
            found.append((tuple(path), " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def value_at(values, path):
    for key in path:
        values = values[key]
    return values


def linked(comment):
    return re.sub(r"docs/[\w/.-]+\.md", lambda page: f"[{page[0]}](../../{page[0]})", comment)


def row(path, value, comment):
    text = linked(comment).replace("|", "\\|")
    return f"| `{'.'.join(path)}` | `{json.dumps(value)}` | {text} |"


def table(values, entries):
    rows = ["| key | default | meaning |", "|---|---|---|"]
    annotated = {path for path, _ in entries}
    for path, comment in entries:
        value = value_at(values, path)
        inner = isinstance(value, dict) and any(other[:len(path)] == path and other != path for other in annotated)
        if not inner:
            rows.append(row(path, value, comment))
        elif comment:
            rows.append(f"| `{'.'.join(path)}` | | {linked(comment)} |")
    return "\n".join(rows) + "\n"


def readme():
    text = (_CHART / "values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    # What the file says of itself, before the first blank line, is of no key.
    entries = documented(text.split("\n\n", 1)[1])
    parts, single = [_INTRODUCTION], []
    for top in values:
        below = [entry for entry in entries if entry[0][0] == top]
        if len(below) == 1:
            single += below
            continue
        (_, comment), *rest = below
        parts.append(f"## {top}\n" + (f"{linked(comment)}\n\n" if comment else "") + table(values, rest))
    parts.insert(1, "## Values\n" + table(values, single))
    return "\n".join(parts)


def made():
    """{path: contents} of all that is made."""
    files = {_CHART / "README.md": readme()}
    for name in ("alerts.yaml", "recording.yaml"):
        files[_CHART / "files" / name] = (_ROOT / "deploy" / "prometheus" / name).read_text(encoding="utf-8")
    for dashboard in sorted((_ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")):
        files[_CHART / "files" / "dashboards" / dashboard.name] = dashboard.read_text(encoding="utf-8")
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if anything would change")
    check = parser.parse_args().check
    wanted = made()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    left = [path for path in (_CHART / "files").rglob("*") if path.is_file() and path not in wanted]
    for path in sorted([*stale, *left]):
        print(f"{path.relative_to(_ROOT)}: {'run helm/generate.py' if check else 'removed' if path in left else 'written'}")
    if check:
        return 1 if stale or left else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in left:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
