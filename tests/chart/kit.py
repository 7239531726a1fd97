"""What the chart's tests stand on: the programs they need, and the chart rendered with some values."""

import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("skipped: needs python3-yaml (bash deploy/install-deps.sh --tests)")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "tributary"
# The release that is rendered.
RELEASE, NAMESPACE = "fed", "federation"
FULLNAME = "fed-tributary"
_TOOLS = ROOT / "build" / "tools"
SCHEMAS = _TOOLS / "chart-schemas"
# helm believes to be of an old cluster when nobody tells it.
KUBERNETES = "1.36.0"
LEAST = {"federation": "example", "sites": ["berlin", "lyon"], "operators": ["admin"], "tls": {"existingSecret": "tributary-tls"}}
WORKER = {**LEAST, "workers": {"config": {"consent": {"runs": ["example-*"]}},
                               "sites": [{"name": "berlin", "tls": {"existingSecret": "berlin-tls"}}]}}


def program(name):
    """A program of the Go registry, by tools.sh or on this machine already; None: not here."""
    cache = pathlib.Path(os.environ.get("KUBEONE_CACHE", pathlib.Path.home() / ".cache" / "kubeone"))
    for path in (_TOOLS / "usr" / "bin" / name, cache / "bin" / name):
        if path.exists():
            return str(path)
    return shutil.which(name)


def values_files():
    return sorted((CHART / "ci").glob("*-values.yaml"))


def helm(*arguments, check=True):
    return subprocess.run([program("helm"), *map(str, arguments)], capture_output=True, text=True, check=check)


def merged(base, over):
    """`over` laid over `base`, maps key by key, as helm does."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: merged(base[key], value) if key in base else value for key, value in over.items()}}


def _template(values, check, chart=CHART, only=()):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return helm("template", RELEASE, chart, "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", file.name, *only,
                    check=check)


@functools.lru_cache(maxsize=None)
def _render(text):
    return [document for document in yaml.safe_load_all(_template(yaml.safe_load(text), check=True).stdout) if document]


def render(values):
    """The objects that a release of these values has."""
    return _render(yaml.safe_dump(values))


def refusal(values):
    """What helm says of values that it must not render."""
    result = _template(values, check=False)
    if result.returncode == 0:
        raise AssertionError("these values are rendered")
    return result.stderr


def notes(values):
    """What helm says after an install. Without a cluster it does not: here they are the text of an object."""
    with tempfile.TemporaryDirectory() as scratch:
        chart = pathlib.Path(shutil.copytree(CHART, pathlib.Path(scratch) / "tributary"))
        templates = chart / "templates"
        (templates / "_notes.tpl").write_text('{{ define "notes" }}' + (templates / "NOTES.txt").read_text(encoding="utf-8") + "{{ end }}",
                                              encoding="utf-8")
        (templates / "notes.yaml").write_text('notes: {{ include "notes" . | toJson }}\n', encoding="utf-8")
        return yaml.safe_load(_template(values, check=True, chart=chart, only=("--show-only", "templates/notes.yaml")).stdout)["notes"]


def find(objects, kind, name):
    found = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of {kind} {name}, among {[(one['kind'], one['metadata']['name']) for one in objects]}")
    return found[0]


def kinds(objects):
    return [one["kind"] for one in objects]


def coordinator(values):
    return find(render(values), "StatefulSet", f"{FULLNAME}-coordinator")


def worker(values, site="berlin"):
    return find(render(values), "StatefulSet", f"{FULLNAME}-worker-{site}")


def config_of(objects, name, file):
    return yaml.safe_load(find(objects, "ConfigMap", name)["data"][file])


def pod_specs(objects):
    """[(name, spec)] of every pod, whatever makes it."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        elif one["kind"] in ("StatefulSet", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]
