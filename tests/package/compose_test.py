"""deploy/compose.yaml without docker: hardened, pinned, and in agreement with the files, images, ports and certificates that it names.

Usage: compose_test.py BIN_DIR
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml
except ImportError:
    print("skipped: PyYAML is missing: apt-get install python3-yaml")
    sys.exit(77)

_DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
_COMPOSE = yaml.safe_load((_DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
_SERVICES = _COMPOSE["services"]
# What docs/how-to/try_with_compose.md has its reader make.
_MADE = ("compose/pki/", "compose/data/")
_SITES = {"berlin", "lyon"}


def read(path):
    return yaml.safe_load((_DEPLOY / path).read_text(encoding="utf-8"))


def mounts(service):
    """(what is mounted, where) for each volume of a service."""
    return [tuple(volume.split(":")[:2]) for volume in service["volumes"]]


def exposed(dockerfile):
    text = (_DEPLOY.parent / dockerfile).read_text(encoding="utf-8")
    return {int(port) for port in re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)[1].split()}


class Compose(unittest.TestCase):
    binaries = None

    def test_the_parties_are_those_of_the_configuration(self):
        self.assertEqual(set(_SERVICES), {"coordinator", "operator", "prometheus", "grafana"} | {f"worker-{site}" for site in _SITES})
        self.assertEqual(set(read("compose/coordinator.yaml")["sites"]), _SITES)

    def test_images_are_pinned_and_ours_are_of_this_version(self):
        version = re.search(r"project\(tributary\s+VERSION ([0-9.]+)", (_DEPLOY.parent / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
        for name, service in _SERVICES.items():
            image, tag = service["image"].split(":")
            self.assertRegex(tag, r"^v?[0-9]+\.[0-9]+\.[0-9]+$", name)
            if image.startswith("tributary-"):
                self.assertEqual(tag, version, name)
            if "build" in service:
                self.assertEqual(service["build"], {"context": "..", "dockerfile": f"deploy/{image.removeprefix('tributary-')}.Dockerfile"})
                self.assertTrue((_DEPLOY.parent / service["build"]["dockerfile"]).exists())

    def test_no_service_is_root_or_writes_outside_its_volumes(self):
        for name, service in _SERVICES.items():
            with self.subTest(name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertRegex(service["user"], r"^(\$\{TRIBUTARY_USER:-[1-9][0-9]*\}|[1-9][0-9]*):[0-9]+$")

    def test_what_is_mounted_is_there_or_made_by_the_reader(self):
        for name, service in _SERVICES.items():
            for source, _ in mounts(service):
                with self.subTest(f"{name}: {source}"):
                    if not source.startswith("./"):
                        self.assertIn(source, _COMPOSE["volumes"])
                    elif not source.removeprefix("./").startswith(_MADE):
                        self.assertTrue((_DEPLOY / source).exists())

    def test_every_party_sees_its_own_key_alone(self):
        stems = {"coordinator": "coordinator", "operator": "operator-admin", **{f"worker-{site}": f"site-{site}" for site in _SITES}}
        for name, stem in stems.items():
            keys = [source for source, _ in mounts(_SERVICES[name]) if "/pki" in source and not source.endswith(".crt")]
            self.assertEqual(keys, [f"./compose/pki/{stem}.key"])

    def test_a_program_finds_all_that_its_configuration_names(self):
        for name in ("coordinator", "operator", *(f"worker-{site}" for site in _SITES)):
            service, config = _SERVICES[name], read(f"compose/{name}.yaml")
            inside = {target for _, target in mounts(service)}
            with self.subTest(name):
                self.assertIn(f"/etc/tributary/{name}.yaml", service.get("command", []) + service.get("entrypoint", []))
                self.assertLessEqual({f"/etc/tributary/{path}" for path in config["tls"].values()}, inside)
                for key in ("data_dir", "state_dir"):
                    if key in config:
                        self.assertIn(str(pathlib.PurePosixPath(config[key]).parent), inside)
                if "data" in config:
                    self.assertIn(config["data"], inside)

    def test_ports_and_names_agree(self):
        config = read("compose/coordinator.yaml")
        listened = {key: int(config[key].split(":")[1]) for key in ("listen", "health_listen", "metrics_listen")}
        self.assertEqual(set(listened.values()), exposed("deploy/coordinator.Dockerfile"))
        self.assertEqual(_SERVICES["coordinator"]["ports"], [f"{listened['listen']}:{listened['listen']}"])
        for name in ("operator", *(f"worker-{site}" for site in _SITES)):
            self.assertEqual(read(f"compose/{name}.yaml")["coordinator"], f"coordinator:{listened['listen']}")
        scraped = {target for job in read("prometheus/prometheus.yaml")["scrape_configs"] for static in job["static_configs"]
                   for target in static["targets"]}
        parties = ("coordinator", *(f"worker-{site}" for site in _SITES))
        self.assertEqual(scraped, {f"{name}:{read(f'compose/{name}.yaml')['metrics_listen'].split(':')[1]}" for name in parties})
        self.assertEqual(_SERVICES["grafana"]["environment"]["PROMETHEUS_URL"], "http://prometheus:9090")
        provider = read("grafana/provisioning/dashboards/tributary.yaml")["providers"][0]
        self.assertIn(("./grafana/dashboards", provider["options"]["path"]), mounts(_SERVICES["grafana"]))

    def test_the_programs_accept_configuration_and_certificates_as_the_page_makes_them(self):
        page = (_DEPLOY.parent / "docs/how-to/try_with_compose.md").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name) / "compose"
            shutil.copytree(_DEPLOY / "compose", folder, ignore=shutil.ignore_patterns("pki", "data"))
            commands = re.findall(r"^ *pki (init|issue) /pki (.*)$", page, re.MULTILINE)
            self.assertGreaterEqual(len(commands), 5)
            for verb, arguments in commands:
                subprocess.run([f"{self.binaries}/tributary", "pki", verb, folder / "pki", *arguments.split()], check=True,
                               capture_output=True)
            for party in ("coordinator", *(f"worker-{site}" for site in _SITES)):
                # The volumes and the data lie elsewhere than in a container.
                path = folder / f"{party}.yaml"
                text = path.read_text(encoding="utf-8").replace("/var/lib/tributary/", f"{name}/{party}/")
                path.write_text(text.replace("data: /data", f"data: {name}/data"), encoding="utf-8")
                (pathlib.Path(name) / party).mkdir()
            (pathlib.Path(name) / "data").mkdir()
            (pathlib.Path(name) / "data" / "text.txt").write_text("some words\n" * 1000, encoding="utf-8")
            result = subprocess.run([f"{self.binaries}/tributary-coordinator", "--config", folder / "coordinator.yaml", "--check"],
                                    capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 0, result.stderr)
            for site in sorted(_SITES):
                # Nobody serves here; everything before that is in order.
                result = subprocess.run([f"{self.binaries}/tributary", "doctor", "--worker", folder / f"worker-{site}.yaml"],
                                        capture_output=True, text=True, check=False)
                failed = [line for line in result.stdout.splitlines() if line.startswith(("fail", "FAIL"))]
                self.assertTrue(all("coordinator" in line for line in failed), result.stdout)


if __name__ == "__main__":
    Compose.binaries = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
