"""What the test on a real cluster stands on: the cluster, the images in it, and a federation whose programs are pods."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "kube"
sys.path.insert(0, str(ROOT / "deploy"))
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
sys.dont_write_bytecode = True

import federation  # noqa: E402  (found through the lines above)
import harness  # noqa: E402

NAMESPACE = "federation"
RELEASE = "tributary"
NODE = "node1"
OPERATOR = "admin"
_BASE = "localhost/tributary-debian:12"
_UNREACHABLE = harness.EXIT_UNREACHABLE
_CURL_NOT_YET = (7, 22)  # nobody listens; an answer that says later


class Mismatch(Exception):
    """What should have been so and is not."""


def check(condition, message):
    if not condition:
        raise Mismatch(message)


def say(text):
    print(f"kube: {text}", flush=True)


class Stopwatch:
    """Seconds of real time, for the record; nothing is decided by them."""

    def __init__(self):
        self._start = time.monotonic()

    def seconds(self):
        return round(time.monotonic() - self._start, 1)


def run(*command, timeout=600, input_text=None, allowed=(0,), environment=None):
    """Standard output of a command that ends with one of `allowed` codes; Mismatch with its last words otherwise."""
    words = [str(word) for word in command]
    result = subprocess.run(words, input=input_text, stdin=None if input_text is not None else subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=timeout, check=False, env=environment)
    check(result.returncode in allowed, f"`{' '.join(words)}` failed with {result.returncode}:\n{(result.stdout + result.stderr)[-3000:]}")
    return result.stdout


class Cluster:
    """The one-node cluster of cluster.sh, from `up` to `down`."""

    _SCRIPT = HERE / "cluster.sh"

    def __init__(self, keep=False):
        self._keep = keep

    def __enter__(self):
        run("bash", self._SCRIPT, "down")
        run("bash", self._SCRIPT, "up")
        run("bash", self._SCRIPT, "kubectl", "create", "namespace", NAMESPACE)
        return self

    def __exit__(self, *_):
        if not self._keep:
            run("bash", self._SCRIPT, "down")

    def execute(self, *command, **options):
        """A command of this machine in the node's network."""
        return run("bash", self._SCRIPT, "exec", *command, **options)

    def kubectl(self, *arguments, **options):
        return run("bash", self._SCRIPT, "kubectl", "--namespace", NAMESPACE, *arguments, **options)

    def helm(self, *arguments, **options):
        return self.execute("helm", "--namespace", NAMESPACE, *arguments, **options)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def apply(self, *arguments):
        """Creates an object, or gives the one that is there this content."""
        text = self.kubectl("create", *arguments, "--dry-run=client", "--output", "yaml")
        self.kubectl("apply", "--filename", "-", input_text=text)

    def load(self, image, folder):
        """Takes an image from buildah's store into the node's."""
        archive = folder / "image.tar"
        run("buildah", "push", "--quiet", image, f"docker-archive:{archive}:{image}")
        run("bash", self._SCRIPT, "load", archive)
        archive.unlink()

    def version(self):
        return json.loads(self.kubectl("version", "--output", "json"))["serverVersion"]["gitVersion"]

    def pods(self):
        """Name -> pod, of the chart's release."""
        return {pod["metadata"]["name"]: pod for pod in self.get("pods", "--selector", f"app.kubernetes.io/instance={RELEASE}")["items"]}

    def memory(self):
        """Name of a pod -> MiB in use, as the kubelet says, which looks every ten seconds or so."""
        text = self.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/resource")
        used = {}
        for line in text.splitlines():
            if line.startswith("container_memory_working_set_bytes{") and f'namespace="{NAMESPACE}"' in line:
                used[line.split('pod="')[1].split('"')[0]] = round(float(line.split("} ")[1].split()[0]) / 2**20)
        return used


def build_images(folder):
    """The images of the programs in build/release, and one of Prometheus. Returns their names."""
    names = run("bash", ROOT / "tests" / "package" / "build_images.sh").split()
    tools = ROOT / "build" / "tools" / "usr" / "bin" / "prometheus"
    prometheus = tools if tools.exists() else shutil.which("prometheus")
    check(prometheus, "prometheus is missing: bash deploy/install-deps.sh --tests")
    context = folder / "prometheus"
    context.mkdir()
    shutil.copy(prometheus, context)
    names.append("localhost/tributary-prometheus:test")
    run("buildah", "bud", "--quiet", "--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={_BASE}", "--file",
        HERE / "prometheus.Dockerfile", "--tag", names[-1], context)
    return names


class Federation:
    """Keys, data, values and run of one federation, and its operator, who calls from outside of any pod."""

    def __init__(self, cluster, folder, sites, run_spec):
        self.cluster, self.folder, self.sites, self.run_name = cluster, folder, sites, run_spec["name"]
        self.files = federation.Federation(folder, harness.BINARIES, sites, name="kube", operator=OPERATOR)
        self.host = f"{RELEASE}.{NAMESPACE}.svc"
        self.files.make_pki(hosts=[self.host])
        self.run_file = self.files.write_yaml("run.yaml", run_spec)
        self.files.write_yaml("operator.yaml", {"federation": "kube", "coordinator": f"{self.host}:443",
                                                "tls": self.files.tls(f"operator-{OPERATOR}")})
        for seed, site in enumerate(sites):
            harness.write_text(folder / "data" / site, seed=seed)

    def put_secret(self, stem, name):
        pki = self.files.pki
        self.cluster.apply("secret", "generic", name, f"--from-file=ca.crt={pki / 'ca.crt'}", f"--from-file=tls.crt={pki / f'{stem}.crt'}",
                           f"--from-file=tls.key={pki / f'{stem}.key'}")

    def put_everything(self):
        """What the values name: secrets, and data."""
        self.put_secret("coordinator", "coordinator-tls")
        self.put_secret(f"operator-{OPERATOR}", "operator-tls")
        for site in self.sites:
            self.put_secret(f"site-{site}", f"{site}-tls")
            self.cluster.apply("configmap", f"{site}-data", f"--from-file={self.folder / 'data' / site}")

    def write_values(self):
        values = {
            "federation": "kube", "sites": self.sites, "operators": [OPERATOR], "tls": {"existingSecret": "coordinator-tls"},
            "coordinator": {"image": {"repository": "localhost/tributary-coordinator", "tag": "test"}, "persistence": {"size": "1Gi"},
                            "sizing": {"parameters": 1000000}, "resources": {"requests": {"cpu": "100m"}}},
            # An upload of a second or two, so that a round lasts on the fastest machine, and a fault meets it half-way.
            "workers": {"image": {"repository": "localhost/tributary-worker", "tag": "test"}, "persistence": {"size": "1Gi"},
                        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
                        "config": {"persist": "every_round", "threads": 1, "max_backoff": "2s", "bandwidth": {"up": "1KiB"},
                                   "consent": {"runs": ["kube-*"], "min_batch_size": 1, "min_samples": 1}},
                        "sites": [{"name": site, "tls": {"existingSecret": f"{site}-tls"},
                                   "data": {"volume": {"configMap": {"name": f"{site}-data"}}}} for site in self.sites]},
            "test": {"operatorSecret": "operator-tls"},
        }
        path = self.folder / "values.json"  # which is YAML, too
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")
        return path

    def operator(self, *arguments, allowed=(0,)):
        text = self.cluster.execute(harness.BINARIES / "tributary", "--config", self.folder / "operator.yaml", "--format", "json",
                                    *arguments, allowed=allowed, timeout=120)
        return json.loads(text) if text else None

    def status(self):
        """Of the run; None while the coordinator is away."""
        return self.operator("run", "status", self.run_name, allowed=(0, _UNREACHABLE))

    def wait_for_round(self, number, timeout=300):
        """The status once round `number` is committed; Mismatch if the run ends badly, or before `number`."""

        def committed():
            status = self.status()
            if status is None:
                return None
            check(status["state"] not in ("failed", "stopped"), f"the run {status['state']}: {status.get('reason', '')}")
            reached = int(status.get("round", 0)) >= number
            check(reached or status["state"] != "finished", f"the run was over before round {number}")
            return status if reached else None

        return federation.wait_until(committed, timeout, f"round {number}")

    def wait_for_end(self, timeout):
        def ended():
            status = self.status()
            return status if status and status["state"] in ("finished", "failed", "stopped") else None

        status = federation.wait_until(ended, timeout, "the end of the run")
        check(status["state"] == "finished", f"the run {status['state']}: {status.get('reason', '')}")
        return status


class Prometheus:
    """The one in the cluster."""

    def __init__(self, cluster):
        self.cluster = cluster

    def start(self):
        rules = ROOT / "deploy" / "prometheus"
        self.cluster.apply("configmap", "prometheus", f"--from-file=prometheus.yaml={HERE / 'scrape.yaml'}",
                           f"--from-file={rules / 'alerts.yaml'}", f"--from-file={rules / 'recording.yaml'}")
        self.cluster.kubectl("apply", "--filename", HERE / "prometheus.yaml")
        self.cluster.kubectl("rollout", "status", "deployment/prometheus", "--timeout=120s")

    def query(self, expression):
        """The value of an expression that has one; None while it has none, or Prometheus does not answer."""
        answer = self._get("query", "--data-urlencode", f"query={expression}")
        return float(answer["result"][0]["value"][1]) if answer and answer["result"] else None

    def rules(self):
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what, *arguments):
        url = f"http://prometheus.{NAMESPACE}.svc:9090/api/v1/{what}"
        text = self.cluster.execute("curl", "--silent", "--fail", "--get", *arguments, url, allowed=(0, *_CURL_NOT_YET))
        return json.loads(text)["data"] if text else None


def missing():
    """Why the test cannot run here; None: it can."""
    cache = pathlib.Path(os.environ.get("KUBEONE_CACHE", pathlib.Path.home() / ".cache" / "kubeone"))
    if os.geteuid() != 0:
        return "needs root"
    absent = [name for name in ("kubeone", "coredns", "helm") if not (cache / "bin" / name).exists()]
    absent += [name for name in ("buildah", "containerd", "curl", "debootstrap", "runc") if shutil.which(name) is None]
    return f"missing: {', '.join(absent)}; bash tests/kube/build.sh --apt" if absent else None
