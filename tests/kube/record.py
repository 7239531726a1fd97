"""The record of a run on a real cluster: docs/reference/kubernetes_run.md, and whether it still tells of what is in the repository.

Usage: record.py    (exit code 1: the chart, the images or the test have changed since)
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "kubernetes_run.md"
# What a run tells of: what the chart makes, the images, and the test.
_FILES = ("helm/tributary/Chart.yaml", "helm/tributary/values*", "helm/tributary/templates/**/*", "deploy/*.Dockerfile",
          "deploy/package/image_root.py", "deploy/package/libraries.py", "tests/kube/**/*")
_NO_PART_OF_IT = ("__pycache__", "CMakeLists.txt", "record.py")
# Of the figures, in the order of the scenario.
_MEANING = {
    "install_to_ready_seconds": ("`helm install --wait`, images loaded", "s"),
    "submit_to_first_round_seconds": ("`run submit` to the first committed round", "s"),
    "killed_coordinator_to_next_round_seconds": (
        "coordinator's pod killed in mid-round (`--force --grace-period=0`), to the second round after", "s"),
    "deleted_coordinator_to_next_round_seconds": ("coordinator's pod deleted (SIGTERM), to the second round after", "s"),
    "upgrade_seconds": ("`helm upgrade --wait` that restarts every pod", "s"),
    "rollback_seconds": ("`helm rollback --wait` of it", "s"),
    "certificate_rotation_seconds": ("secrets of coordinator and a site replaced, to both in use (the kubelet looks every 10 s here)", "s"),
    "drain_seconds": ("`kubectl drain` of the only node", "s"),
    "uncordon_to_next_round_seconds": ("`kubectl uncordon`, to the second round after", "s"),
    "memory_coordinator_mib": ("memory of the coordinator's pod", "MiB"),
    "memory_worker_mib": ("memory of a worker's pod, the largest", "MiB"),
}


def digest():
    """SHA-256 of the names and the content of all that a recorded run tells of."""
    found = {path for pattern in _FILES for path in ROOT.glob(pattern) if path.is_file()}
    found = {path for path in found if not set(path.parts).intersection(_NO_PART_OF_IT)}
    total = hashlib.sha256()
    for path in sorted(found):
        total.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def write(date, spec, kubernetes, figures):
    """Writes the page: the figures, and the commit and the digest of what they are of."""
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    rows = "".join(f"| {_MEANING[name][0]} | {value} {_MEANING[name][1]} |\n" for name, value in figures.items())
    PAGE.write_text(f"""# A run on Kubernetes

What a federation of the chart went through on a real cluster, and how long each step took. Written by
`bash tests/run.sh --kube` ([kube_test.py](../../tests/kube/kube_test.py)), which says what is done and what must hold:
coordinator and three workers are pods, on one node, with volumes, probes, limits and the restricted security context of the
chart. The coordinator is killed in mid-round and deleted, all pods are replaced by an upgrade and a rollback, certificates
are replaced, and the node is drained. No committed round is lost, and coordinator, all workers and `tributary-sim`, where
nothing happens, end with the same bits.

| | |
|---|---|
| date | {date} |
| commit | `{commit}` |
| digest of chart, images and test | `{digest()}` |
| Kubernetes | {kubernetes} |
| run | {spec['rounds']} rounds, every worker capped at 1 KiB/s up, so that a round lasts a second or two |

| step | took |
|---|---|
{rows}
Two cores, shared with other work. Waits of a second or two are those of the round itself, and of workers that try again
(`max_backoff` 2 s here). A test fails when chart, images or test have changed since: run it again, and commit this page.

## The run file
```
{json.dumps(spec, indent=1)}
```
""", encoding="utf-8")


def main():
    text = PAGE.read_text(encoding="utf-8")
    recorded = dict(re.findall(r"^\| (date|commit|digest[^|]*) \| `?([^|`]+)`? \|$", text, re.MULTILINE))
    if recorded["digest of chart, images and test"] != digest():
        print(f"record: the chart, the images or the test on a real cluster have changed since the recorded run of {recorded['date']}\n"
              "(docs/reference/kubernetes_run.md): bash tests/run.sh --kube, and commit the page that it writes", file=sys.stderr)
        return 1
    print(f"recorded: the chart on a real cluster, {recorded['date']}, commit {recorded['commit'][:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
