"""Checks that docs/reference/ names everything public: configuration keys, keys of JSON output, exit codes, metrics. And that what the
documents claim of tests is so: each claim of the threat model has one, and a test that a document names is in the file it links to."""

import pathlib
import posixpath
import re
import sys

import tree

_REFERENCE = pathlib.PurePosixPath("docs/reference")
_CONFIGURATION = ("TlsConfig", "CoordinatorConfig", "EnrolmentConfig", "SnapshotConfig", "WorkerConfig", "CsvConfig",
                  "BandwidthConfig", "ConsentConfig", "OperatorConfig", "RunSpec", "ModelSpec", "GptSpec", "MlpSpec",
                  "LlamaSpec", "ConvNetSpec", "DdpmSpec", "CustomSpec", "TensorSpec", "DataSpec", "ColumnSpec", "LabelSpec",
                  "ClassSpec", "OptimizerSpec", "ScheduleSpec", "ParticipationSpec", "EvaluationSpec")
_JSON = ("Site", "SiteToken", "RunStatus", "SiteStatus", "RoundRecord")
# What prints JSON of its own making, not a message.
_JSON_MADE = ("cli/app.cc", "cli/commands_backup.cc", "cli/commands_doctor.cc", "cli/commands_export.cc", "cli/commands_journal.cc",
              "cli/commands_model.cc", "cli/commands_pki.cc", "cli/commands_report.cc", "doctor/finding.cc", "sim/main.cc",
              "worker/data_command.cc", "worker/main.cc", "worker/member_command.cc", "worker/sent_history.cc")
_TABLE = re.compile(r"FormatTable\(\{\{.*?\}\},", re.DOTALL)
_KEY = re.compile(r'\{"([a-z]\w*)", (?!")|\bjson\["(\w+)"\]')
_NAMED_TEST = re.compile(r"\[`(\w+)`\]\(([^)#\s]+)\)")
# A document, and how the tables begin whose every row is a claim.
_CLAIMS = ((pathlib.PurePosixPath("docs/explanation/threat_model.md"), r"\| what holds \|"),
           (_REFERENCE / "refusals.md", r"\| (who comes|who calls|what comes|what is shown|what is asked for) \|"))
_FIELD = re.compile(r"^\s*(?:optional |repeated )?[\w.]+ (\w+) = \d+(?: \[|;)", re.MULTILINE)


def fields_of(messages):
    for path in tree.with_suffix(".proto"):
        text = re.sub(r"//.*", "", tree.text(path))
        for message in re.finditer(r"^message (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            if message[1] in messages:
                body = re.sub(r"enum \w+ \{.*?\}", "", message[2], flags=re.DOTALL)
                for field in _FIELD.findall(body):
                    yield f"{message[1]}.{field}", field


def json_keys():
    for name in _JSON_MADE:
        for of_list, of_index in _KEY.findall(_TABLE.sub("", tree.text(pathlib.PurePosixPath(name)))):
            yield f"{name}: {of_list or of_index}", of_list or of_index


def metrics():
    for path in tree.with_suffix(".cc"):
        if path.name == "metrics.cc":
            for name in re.findall(r'"(tributary_\w+)"', tree.text(path)):
                yield f"{path}: {name}", name


def exit_codes():
    for name, number in re.findall(r"^\s*(k\w+) = (\d+),", tree.text(pathlib.PurePosixPath("common/exit_codes.h")), re.MULTILINE):
        yield name, number


def undocumented(page, entries, pattern):
    """The entries whose word the page does not have; `pattern` says what a word is."""
    document = _REFERENCE / page
    words = set(re.findall(pattern, tree.text(document), re.MULTILINE))
    return [f"{document} does not name {what}" for what, word in entries if word not in words]


def tests_that_are_named():
    """Of every document, (document, name, file): links to a file of tests/ whose words are a name in it."""
    for document in tree.with_suffix(".md"):
        for name, target in _NAMED_TEST.findall(tree.text(document)):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(str(document)), target))
            if path.startswith("tests/"):
                yield document, name, pathlib.PurePosixPath(path)


def claims_without_a_test():
    """Rows of the tables headed `what holds` and the like that link to no test."""
    for document, heading in _CLAIMS:
        rows = 0
        claims = False
        for line in tree.text(document).splitlines():
            if not line.startswith("|"):
                claims = False
            elif re.match(heading, line):
                claims = True
            elif claims and not line.startswith("|--"):
                rows += 1
                if "](../../tests/" not in line:
                    yield f"{document}: no test is named for: {line}"
        if rows == 0:
            yield f"{document}: found no claims: has the heading of its tables changed?"


def main():
    keys, names, codes, made = list(fields_of(_CONFIGURATION)), list(metrics()), list(exit_codes()), list(json_keys())
    problems = undocumented("configuration.md", keys, r"\w+")
    problems += undocumented("json_output.md", [*fields_of(_JSON), *made], r"\w+")
    problems += undocumented("metrics.md", names, r"\w+")
    problems += undocumented("exit_codes.md", codes, r"^\| (\d+) \|")
    tests = list(tests_that_are_named())
    problems += [f"{document}: {path} has no {name}" for document, name, path in tests
                 if path in tree.files() and not re.search(rf"\b{name}\b", tree.text(path))]
    problems += claims_without_a_test()
    print(f"{len(keys)} keys, {len(made)} of JSON beside messages, {len(names)} metrics, {len(codes)} exit codes, {len(tests)} tests named")
    if not keys or not names or not codes or not made:
        problems.append("found nothing to check of one kind: have the protos, metrics, exit codes or JSON moved?")
    return tree.report(problems, "documented")


if __name__ == "__main__":
    sys.exit(main())
