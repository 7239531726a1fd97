"""The chart on a real cluster: a run trains to its end through all that befalls a cluster, and ends with the bits of an undisturbed one.

Usage: kube_test.py [--record] [--chart FOLDER] [--keep]    (as root; exit code 77: skipped, with the reason)

  --record   write docs/reference/kubernetes_run.md: the figures, and what they are of (record.py)
  --chart    a chart elsewhere than in helm/tributary
  --keep     leave the cluster as it is at the end (tests/kube/cluster.sh down)

Three worker pods train while the coordinator's pod is deleted in mid-round, twice; the chart is upgraded and rolled back; certificates are
replaced; and the node is drained. The same run in tributary-sim says how the model must end.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import kit
import record
from kit import check, say

SITES = ["alpha", "beta", "gamma"]
COORDINATOR = f"{kit.RELEASE}-coordinator-0"
RUN = kit.harness.run_spec(name="kube-run", rounds=150, optimizer={"k": 256}, evaluation={"every": 50},
                           # Every update counts: a round waits for all its members, however long they take.
                           participation={"min_workers": 3, "quorum": 1.0, "max_deadline": "10m", "wait_timeout": "10m"})
# How many rounds a fault is followed by before the next.
BETWEEN = 5
SKIPPED = 77


def worker(site):
    """The name of a site's pod."""
    return f"{kit.RELEASE}-worker-{site}-0"


class Scenario:
    """The steps, in order; each notes its figures."""

    def __init__(self, cluster, folder, chart):
        self.cluster, self.folder, self.chart = cluster, folder, chart
        self.parties = kit.Federation(cluster, folder, SITES, RUN)
        self.prometheus = kit.Prometheus(cluster)
        self.figures = {}

    def note(self, name, value, unit):
        self.figures[name] = value
        say(f"{name.replace('_', ' ')}: {value} {unit}")

    def reference(self):
        """The state that the run must end in: that of the same run in one process, where nothing happens."""
        # Without this machine's environment, which a pod has not either: OPENBLAS_CORETYPE, for instance, changes gradients' last bits.
        text = kit.run(kit.harness.BINARIES / "tributary-sim", self.parties.run_file, "--format", "json", timeout=1800, environment={})
        return json.loads(text)["state_hash"]

    def install(self):
        self.parties.put_everything()
        watch = kit.Stopwatch()
        self.cluster.helm("install", kit.RELEASE, self.chart, "--values", self.parties.write_values(), "--wait", "--timeout", "5m")
        self.note("install_to_ready_seconds", watch.seconds(), "s")
        pods = self.cluster.pods()
        check(len(pods) == 1 + len(SITES), f"pods: {sorted(pods)}")
        self.cluster.helm("test", kit.RELEASE, "--timeout", "2m")
        say("helm test passed")
        self.cluster.kubectl("exec", worker(SITES[0]), "--", "tributary-worker", "doctor", "--config", "/etc/tributary/worker.yaml")
        say("a worker's doctor is content")

    def submit(self):
        watch = kit.Stopwatch()
        self.parties.operator("run", "submit", self.parties.run_file)
        self.parties.wait_for_round(1)
        self.note("submit_to_first_round_seconds", watch.seconds(), "s")
        self.parties.wait_for_round(BETWEEN)

    def scraped(self):
        """Prometheus finds all pods by what the chart says of them, and what it computes from them is there."""
        self.prometheus.start()
        pods = 1 + len(SITES)
        wanted = {'sum(up{job="tributary"})': pods, "sum(tributary_site_up)": len(SITES), "max(tributary_round) > bool 1": 1}
        for expression, value in wanted.items():
            kit.federation.wait_until(lambda text=expression, value=value: self.prometheus.query(text) == value, 120,
                                      f"`{expression}` to be {value} in Prometheus")
        unhealthy = [rule["name"] for rule in self.prometheus.rules() if rule["health"] == "err"]
        check(not unhealthy, f"rules that fail: {unhealthy}")
        say(f"Prometheus scrapes {pods} pods")

    def delete_coordinator(self, name, *flags):
        before = int(self.parties.status()["round"])
        watch = kit.Stopwatch()
        self.cluster.kubectl("delete", "pod", COORDINATOR, "--wait=false", *flags)
        self.parties.wait_for_round(before + 2)
        self.note(name, watch.seconds(), "s")
        self.parties.wait_for_round(before + BETWEEN)

    def change_and_go_back(self):
        """An upgrade that makes new pods of all, and a rollback of it."""
        before = int(self.parties.status()["round"])
        watch = kit.Stopwatch()
        self.cluster.helm("upgrade", kit.RELEASE, self.chart, "--reuse-values", "--set", "coordinator.config.lease=45s", "--set",
                          "workers.config.max_backoff=3s", "--wait", "--timeout", "5m")
        self.note("upgrade_seconds", watch.seconds(), "s")
        self.parties.wait_for_round(before + BETWEEN)
        watch = kit.Stopwatch()
        self.cluster.helm("rollback", kit.RELEASE, "1", "--wait", "--timeout", "5m")
        self.note("rollback_seconds", watch.seconds(), "s")
        self.parties.wait_for_round(before + 2 * BETWEEN)

    def rotate(self):
        """New certificates of the coordinator and of a site, taken over by pods that go on."""
        def restarts():
            return {name: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
                    for name, pod in self.cluster.pods().items() if not name.endswith("-test")}

        before = restarts()
        files = self.parties.files
        watch = kit.Stopwatch()
        files.tool("pki", "issue", files.pki, "--coordinator", "--host", self.parties.host, "--force")
        files.tool("pki", "issue", files.pki, "--site", SITES[0], "--force")
        self.parties.put_secret("coordinator", "coordinator-tls")
        self.parties.put_secret(f"site-{SITES[0]}", f"{SITES[0]}-tls")
        for pod in (COORDINATOR, worker(SITES[0])):
            kit.federation.wait_until(lambda name=pod: "new certificate in use" in self.cluster.kubectl("logs", name), 180,
                                      f"{pod} to take over its new certificate")
        self.note("certificate_rotation_seconds", watch.seconds(), "s")
        check(restarts() == before, "a pod was restarted by the new certificates")
        self.parties.wait_for_round(int(self.parties.status()["round"]) + BETWEEN)

    def drain(self):
        """The only node is drained, so that every pod waits for it to come back."""
        before = int(self.parties.status()["round"])
        watch = kit.Stopwatch()
        self.cluster.kubectl("drain", kit.NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s")
        self.note("drain_seconds", watch.seconds(), "s")
        self.cluster.kubectl("uncordon", kit.NODE)
        watch = kit.Stopwatch()
        self.parties.wait_for_round(before + 2)
        self.note("uncordon_to_next_round_seconds", watch.seconds(), "s")

    def finish(self, expected):
        status = self.parties.wait_for_end(timeout=1800)
        memory = self.cluster.memory()
        self.note("memory_coordinator_mib", memory[COORDINATOR], "MiB")
        self.note("memory_worker_mib", max(memory[worker(site)] for site in SITES), "MiB")
        history = self.parties.operator("run", "history", RUN["name"])["rounds"]
        rounds = [int(entry["round"]) for entry in history if int(entry.get("round", 0)) > 0]
        check(rounds == list(range(1, RUN["rounds"] + 1)), f"committed rounds are missing: {len(rounds)} of {RUN['rounds']}")
        hashes = {site["site"]: site.get("state_hash") for site in status["sites"]}
        hashes.update(simulation=expected, coordinator=status["state_hash"])
        check(len(hashes) == 2 + len(SITES) and len(set(hashes.values())) == 1, f"models differ: {hashes}")
        say(f"{len(rounds)} rounds, one hash: {expected}")
        self.cluster.helm("test", kit.RELEASE, "--timeout", "2m")
        self.cluster.helm("uninstall", kit.RELEASE, "--wait")
        claims = self.cluster.get("persistentvolumeclaims")["items"]
        check(len(claims) == 1 + len(SITES), "uninstalling took volumes along")

    def play(self):
        expected = self.reference()
        self.install()
        self.submit()
        self.scraped()
        self.delete_coordinator("killed_coordinator_to_next_round_seconds", "--force", "--grace-period=0")
        self.delete_coordinator("deleted_coordinator_to_next_round_seconds")
        self.change_and_go_back()
        self.rotate()
        self.drain()
        self.finish(expected)
        return self.figures

    def describe(self):
        """What a person wants to see of a scenario that failed."""
        kubectl = ("bash", kit.HERE / "cluster.sh", "kubectl", "--namespace", kit.NAMESPACE)
        for arguments in (("get", "pods,pvc", "--output", "wide"), ("get", "events", "--sort-by=.lastTimestamp"),
                          *(("logs", name, "--tail=20") for name in self.cluster.pods())):
            shown = subprocess.run([*map(str, kubectl), *arguments], capture_output=True, text=True, check=False)
            print(f"--- {' '.join(arguments)}\n{(shown.stdout + shown.stderr)[-4000:]}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--chart", type=pathlib.Path, default=kit.ROOT / "helm" / "tributary")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    reason = kit.missing()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="tributary-kube-") as name:
        folder = pathlib.Path(name)
        images = kit.build_images(folder)
        with kit.Cluster(keep=arguments.keep) as cluster:
            for image in images:
                cluster.load(image, folder)
            scenario = Scenario(cluster, folder / "federation", arguments.chart)
            try:
                figures = scenario.play()
                kubernetes = cluster.version()
            except (kit.Mismatch, kit.federation.FederationError) as error:
                scenario.describe()
                print(f"kube: {error}", file=sys.stderr)
                return 1
    if arguments.record:
        record.write(datetime.date.today().isoformat(), RUN, kubernetes, figures)
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
