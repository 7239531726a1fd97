"""Checks that docs/operations.md names everything public: configuration keys, exit codes, metrics."""

import pathlib
import re
import sys

import tree

_DOCUMENT = pathlib.PurePosixPath("docs/operations.md")
_CONFIGURATION = ("TlsConfig", "CoordinatorConfig", "SnapshotConfig", "WorkerConfig", "ConsentConfig", "OperatorConfig", "RunSpec", "ModelSpec",
                  "GptSpec", "MlpSpec", "DataSpec", "OptimizerSpec", "ScheduleSpec", "ParticipationSpec", "EvaluationSpec")
_FIELD = re.compile(r"^\s*(?:optional |repeated )?[\w.]+ (\w+) = \d+(?: \[|;)", re.MULTILINE)


def configuration_keys():
    for path in tree.with_suffix(".proto"):
        text = re.sub(r"//.*", "", tree.text(path))
        for message in re.finditer(r"^message (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            if message[1] in _CONFIGURATION:
                body = re.sub(r"enum \w+ \{.*?\}", "", message[2], flags=re.DOTALL)
                for field in _FIELD.findall(body):
                    yield f"{message[1]}.{field}", field


def metrics():
    for path in tree.with_suffix(".cc"):
        if path.name == "metrics.cc":
            for name in re.findall(r'"(tributary_\w+)"', tree.text(path)):
                yield f"{path}: {name}", name


def exit_codes():
    for name, number in re.findall(r"^\s*(k\w+) = (\d+),", tree.text(pathlib.PurePosixPath("common/exit_codes.h")), re.MULTILINE):
        yield name, number


def main():
    document = tree.text(_DOCUMENT)
    words = set(re.findall(r"\w+", document))
    rows = set(re.findall(r"^\| (\d+) \|", document, re.MULTILINE))
    keys, names, codes = list(configuration_keys()), list(metrics()), list(exit_codes())
    problems = [f"{_DOCUMENT} does not name {what}" for what, word in keys + names if word not in words]
    problems += [f"{_DOCUMENT} has no row for exit code {number} ({name})" for name, number in codes if number not in rows]
    print(f"{len(keys)} keys, {len(names)} metrics, {len(codes)} exit codes")
    if not keys or not codes:
        problems.append("found nothing to check: have the protos or exit codes moved?")
    return tree.report(problems, "documented")


if __name__ == "__main__":
    sys.exit(main())
