"""Checks what an operator's tools are given: the dashboards are what their source makes, every panel explains itself, every alert has its
page in the runbook, and no query names a metric that the programs do not have."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import documented
import tree

_GRAFANA = pathlib.PurePosixPath("deploy/grafana")
_RULES = pathlib.PurePosixPath("deploy/prometheus")
_RUNBOOK = pathlib.PurePosixPath("docs/how-to/runbook.md")
_METRIC = re.compile(r"(?<![:\w])tributary_\w+")  # job:tributary_... are recorded


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def stale():
    """The dashboards that dashboards.py would make otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-B", tree.ROOT / _GRAFANA / "dashboards.py", "--output", folder], check=True)
        made = {path.name: path.read_text(encoding="utf-8") for path in pathlib.Path(folder).iterdir()}
    kept = {path.name: tree.text(path) for path in tree.with_suffix(".json") if path.parent == _GRAFANA / "dashboards"}
    return [f"{_GRAFANA}/dashboards/{name}: run {_GRAFANA}/dashboards.py" for name in sorted(made.keys() | kept.keys())
            if made.get(name) != kept.get(name)]


def unexplained(path, dashboard):
    for panel in panels(dashboard):
        for key in ("title", "description", "targets"):
            if not panel[key]:
                yield f"{path}: panel {panel['id']} {panel['title']!r} has no {key}"
        if not panel["fieldConfig"]["defaults"]["unit"]:
            yield f"{path}: panel {panel['title']!r} has no unit"


def unknown_metrics(path, names):
    for name in sorted(set(_METRIC.findall(tree.text(path)))):
        if re.sub(r"_(bucket|sum|count)$", "", name) not in names and name not in names:
            yield f"{path}: no program has a metric {name}"


def links(path):
    return re.findall(rf"{re.escape(str(_RUNBOOK))}#(\w+)", tree.text(path))


def main():
    names = {name for _, name in documented.metrics()}
    titles = re.findall(r"^## (\w+)$", tree.text(_RUNBOOK), re.MULTILINE)
    anchors = {title.lower() for title in titles}
    dashboards = [path for path in tree.with_suffix(".json") if path.parent == _GRAFANA / "dashboards"]
    rules = [_RULES / "alerts.yaml", _RULES / "recording.yaml"]
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - |\Z)", tree.text(_RULES / "alerts.yaml"), re.DOTALL)

    problems = stale()
    for path in dashboards:
        problems += unexplained(path, json.loads(tree.text(path)))
    for path in [*dashboards, *rules]:
        problems += unknown_metrics(path, names)
        problems += [f"{path}: the runbook has no page {anchor}" for anchor in links(path) if anchor not in anchors]
    for name, body in alerts:
        if f"runbook_url: {_RUNBOOK}#{name.lower()}" not in body:
            problems.append(f"alert {name} does not lead to its page in {_RUNBOOK}")
    problems += [f"{_RUNBOOK}: no alert {title}" for title in titles if title not in dict(alerts)]
    print(f"{len(dashboards)} dashboards, {len(alerts)} alerts, {len(names)} metrics")
    if not dashboards or not alerts or not names:
        problems.append("found nothing to check of one kind: have the dashboards, alerts or metrics moved?")
    return tree.report(problems, "operations")


if __name__ == "__main__":
    sys.exit(main())
