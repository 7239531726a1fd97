"""A real Prometheus that scrapes a federation, and the dashboards' queries with their variables filled in."""

import json
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request

import harness

RULES = harness.ROOT / "deploy" / "prometheus"
DASHBOARDS = harness.ROOT / "deploy" / "grafana" / "dashboards"


def program(name):
    unpacked = harness.ROOT / "build" / "tools" / "usr" / "bin" / name
    return shutil.which(name) or (str(unpacked) if unpacked.exists() else None)


PROMETHEUS = program("prometheus")
PROMTOOL = program("promtool")
MISSING = "no prometheus or promtool program: bash deploy/install-deps.sh --tests"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(parties):
    """Starts coordinator, workers and a Prometheus, and waits until it has seen every page: rates need values from before. Returns the
    Prometheus, and {site: host:port} of the workers' pages."""
    pages = {site: f"127.0.0.1:{free_port()}" for site in parties.sites}
    parties.start_coordinator()
    parties.write_operator_config()
    for site, page in pages.items():
        parties.write_worker_config(site, parties.directory / "data" / site, metrics_listen=page)
        parties.start_worker(site)
    prometheus = Prometheus(parties, {"coordinator": [parties.endpoints()["metrics"]], "worker": list(pages.values())})
    harness.federation.wait_until(lambda: prometheus.query(f"count(up == 1) == {1 + len(pages)}"), 30, "the first scrape of each page")
    return prometheus, pages


class Prometheus:
    """Scrapes every second, with our alerts and recording rules. It ends with the federation that it was started for."""

    def __init__(self, parties, targets):
        """`targets`: {job: [host:port]}."""
        config = parties.directory / "prometheus.yml"
        jobs = [{"job_name": job, "static_configs": [{"targets": pages}]} for job, pages in targets.items()]
        # JSON is YAML.
        config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                                      "rule_files": [f"{RULES}/alerts.yaml", f"{RULES}/recording.yaml"], "scrape_configs": jobs}),
                          encoding="utf-8")
        self.address = f"127.0.0.1:{free_port()}"
        parties.processes["prometheus"] = harness.federation.Process(
            "prometheus", [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={parties.directory / 'tsdb'}",
                           f"--web.listen-address={self.address}", "--log.level=warn"], parties.directory / "prometheus.log")

    def _get(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?" + urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """[(labels, value)] of an instant query; empty while Prometheus is not up. FederationError if the expression is wrong."""
        try:
            return [(entry["metric"], float(entry["value"][1])) for entry in self._get("query", query=expression)["result"]]
        except (urllib.error.URLError, ConnectionError) as error:
            if getattr(error, "code", 503) != 503:
                raise harness.federation.FederationError(f"{expression}: {error.read().decode()}") from error
            return []

    def query_range(self, expression, start, end, step):
        """[(labels, [(time, value)])], times in seconds since the epoch."""
        result = self._get("query_range", query=expression, start=start, end=end, step=step)["result"]
        return [(entry["metric"], [(float(time), float(value)) for time, value in entry["values"]]) for entry in result]

    def label_values(self, selector, label):
        return sorted({series[label] for series in self._get("series", **{"match[]": selector}) if label in series})

    def rules(self, kind):
        """The loaded rules, "alerting" or "recording"."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"] if rule["type"] == kind]


def filled(expression, variables):
    """The expression with $NAME and Grafana's own $__NAME replaced. KeyError for one that is not known."""
    return re.sub(r"\$(\w+)", lambda name: variables[name[1]], expression)


def dashboards():
    """{file name without suffix: dashboard}."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def variable_queries(dashboard):
    """[(variable, selector, label)] of the variables that Prometheus answers, in the order in which they are filled."""
    found = []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            found.append((variable["name"], selector, label))
    return found
