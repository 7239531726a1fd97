"""What the chart renders, by helm: one behaviour each. Where `--binaries FOLDER` has the programs, they read the configuration, too."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import kit  # first: says what is missing
import yaml

_SKIPPED = 77
_BINARIES = None
_CERT_MANAGER = kit.merged({**kit.LEAST, "tls": {}}, {"tls": {"certManager": {"issuerRef": {"name": "ca"}}}})
_EVERYTHING = yaml.safe_load((kit.CHART / "ci" / "everything-values.yaml").read_text(encoding="utf-8"))
_SITE_ONLY = yaml.safe_load((kit.CHART / "ci" / "site-only-values.yaml").read_text(encoding="utf-8"))
_WORKERS = yaml.safe_load((kit.CHART / "ci" / "workers-values.yaml").read_text(encoding="utf-8"))
_DOCS = "https://docs.example.org/tributary/docs/"


def pod(statefulset):
    return statefulset["spec"]["template"]["spec"]


def container(statefulset):
    return pod(statefulset)["containers"][0]


def checksum(statefulset):
    return statefulset["spec"]["template"]["metadata"]["annotations"]["checksum/config"]


def with_config(**config):
    return kit.merged(kit.LEAST, {"coordinator": {"config": config}})


class Coordinator(unittest.TestCase):
    def test_is_one_pod_with_a_volume_of_its_own(self):
        made = kit.coordinator(kit.LEAST)
        self.assertEqual(made["spec"]["replicas"], 1)
        claim, = made["spec"]["volumeClaimTemplates"]
        self.assertEqual((claim["metadata"]["name"], claim["spec"]["accessModes"]), ("data", ["ReadWriteOnce"]))

    def test_keeps_its_data_in_a_folder_on_the_volume(self):
        # The volume itself can be neither moved away nor restored into.
        config = kit.config_of(kit.render(kit.LEAST), f"{kit.FULLNAME}-coordinator", "coordinator.yaml")
        mount, = [one for one in container(kit.coordinator(kit.LEAST))["volumeMounts"] if one["name"] == "data"]
        self.assertEqual(pathlib.PurePosixPath(config["data_dir"]).parent, pathlib.PurePosixPath(mount["mountPath"]))

    def test_an_existing_claim_takes_the_place_of_its_own(self):
        made = kit.coordinator(kit.merged(kit.LEAST, {"coordinator": {"persistence": {"existingClaim": "old"}}}))
        self.assertNotIn("volumeClaimTemplates", made["spec"])
        self.assertIn({"name": "data", "persistentVolumeClaim": {"claimName": "old"}}, pod(made)["volumes"])

    def test_listens_where_the_pod_says(self):
        config = kit.config_of(kit.render(kit.LEAST), f"{kit.FULLNAME}-coordinator", "coordinator.yaml")
        ports = {port["name"]: port["containerPort"] for port in container(kit.coordinator(kit.LEAST))["ports"]}
        self.assertEqual({"grpc": config["listen"], "health": config["health_listen"], "metrics": config["metrics_listen"]},
                         {name: f"0.0.0.0:{port}" for name, port in ports.items()})

    def test_is_probed_by_grpc_on_the_health_port(self):
        one = container(kit.coordinator(kit.LEAST))
        health, = [port["containerPort"] for port in one["ports"] if port["name"] == "health"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(one[probe]["grpc"], {"port": health}, probe)

    def test_has_as_long_to_start_as_the_values_say(self):
        probe = container(kit.coordinator(kit.merged(kit.LEAST, {"coordinator": {"startupSeconds": 3600}})))["startupProbe"]
        self.assertGreaterEqual(probe["periodSeconds"] * probe["failureThreshold"], 3600)

    def test_has_longer_to_end_than_its_drain_takes(self):
        for timeout, seconds in (("20s", 20), ("2m", 120)):
            with self.subTest(timeout):
                self.assertGreaterEqual(pod(kit.coordinator(with_config(drain_timeout=timeout)))["terminationGracePeriodSeconds"],
                                        seconds + 20)

    def test_what_a_reload_takes_over_does_not_restart_it(self):
        before = kit.coordinator(kit.LEAST)
        for values in ({**kit.LEAST, "sites": ["berlin", "lyon", "oslo"]}, {**kit.LEAST, "operators": ["other"]},
                       with_config(log_level="debug"), with_config(log_format="text")):
            self.assertEqual(kit.coordinator(values), before)
        self.assertIn("--watch-config", container(kit.coordinator(kit.LEAST))["args"])

    def test_what_needs_a_restart_restarts_it(self):
        before = checksum(kit.coordinator(kit.LEAST))
        for values in (with_config(lease="10s"), with_config(snapshots={"every": 10}), {**kit.LEAST, "federation": "other"}):
            self.assertNotEqual(checksum(kit.coordinator(values)), before)

    def test_more_sites_and_parameters_get_more_memory(self):
        def limit(**sizing):
            resources = container(kit.coordinator(kit.merged(kit.LEAST, {"coordinator": {"sizing": sizing}})))["resources"]
            self.assertEqual(resources["requests"]["memory"], resources["limits"]["memory"])
            return int(resources["limits"]["memory"].removesuffix("Mi"))

        self.assertEqual(limit(parameters=25_000_000), 861)
        self.assertGreaterEqual(limit(parameters=1_000_000_000), 20_000_000_000 // 2**20)
        self.assertEqual(limit(sites=100) - limit(sites=50), 200)

    def test_memory_that_the_values_name_is_taken_as_it_is(self):
        resources = container(kit.coordinator(kit.merged(kit.LEAST, {"coordinator": {"resources": {"limits": {"memory": "300Mi"}}}})))
        self.assertEqual(resources["resources"], {"requests": {"cpu": "250m"}, "limits": {"memory": "300Mi"}})

    def test_is_taken_by_digest_where_there_is_one(self):
        self.assertEqual(container(kit.coordinator(_EVERYTHING))["image"],
                         f"registry.example.org/tributary-coordinator@sha256:{'0' * 64}")

    def test_a_pod_that_never_gets_ready_does_not_hold_up_a_rollback(self):
        for made in (kit.coordinator(kit.LEAST), kit.worker(kit.WORKER)):
            self.assertEqual(made["spec"]["podManagementPolicy"], "Parallel")

    def test_lets_a_drain_pass(self):
        budget = kit.find(kit.render(kit.LEAST), "PodDisruptionBudget", f"{kit.FULLNAME}-coordinator")
        self.assertEqual((budget["spec"]["maxUnavailable"], budget["spec"]["unhealthyPodEvictionPolicy"]), (1, "AlwaysAllow"))


class Certificates(unittest.TestCase):
    def test_without_any_the_message_names_both_ways(self):
        message = kit.refusal({**kit.LEAST, "tls": {}})
        self.assertIn("tls.existingSecret", message)
        self.assertIn("tls.certManager.issuerRef.name", message)

    def test_a_secret_goes_before_an_issuer(self):
        objects = kit.render(kit.merged(_CERT_MANAGER, kit.LEAST))
        self.assertNotIn("Certificate", kit.kinds(objects))
        volume, = [one for one in pod(kit.find(objects, "StatefulSet", f"{kit.FULLNAME}-coordinator"))["volumes"] if one["name"] == "tls"]
        self.assertEqual(volume["secret"]["secretName"], "tributary-tls")

    def test_an_issuer_is_asked_for_the_coordinators_identity_and_names(self):
        spec = kit.find(kit.render({**_EVERYTHING, "federation": "example"}), "Certificate", kit.FULLNAME)["spec"]
        self.assertEqual(spec["uris"], ["spiffe://example/coordinator"])
        self.assertIn("server auth", spec["usages"])
        self.assertLessEqual({f"{kit.FULLNAME}.{kit.NAMESPACE}.svc", "coordinator.example.org", "federation.example.org",
                              "coordinator.internal"}, set(spec["dnsNames"]))

    def test_an_issuer_is_asked_for_a_sites_identity(self):
        objects = kit.render(_WORKERS)
        spec = kit.find(objects, "Certificate", f"{kit.FULLNAME}-worker-oslo")["spec"]
        self.assertEqual((spec["uris"], spec["usages"]), (["spiffe://example/site/oslo"], ["digital signature", "client auth"]))
        volume, = [one for one in pod(kit.worker(_WORKERS, "oslo"))["volumes"] if one["name"] == "tls"]
        self.assertEqual(volume["secret"]["secretName"], spec["secretName"])

    def test_certificates_are_renewed_before_the_alert_fires(self):
        spec = kit.find(kit.render(_CERT_MANAGER), "Certificate", kit.FULLNAME)["spec"]
        self.assertGreater(int(spec["renewBefore"].removesuffix("h")), 864000 // 3600)

    def test_keys_are_not_readable_for_every_user(self):
        for values in (kit.LEAST, kit.WORKER):
            for name, spec in kit.pod_specs(kit.render(values)):
                for volume in spec["volumes"]:
                    if "secret" in volume:
                        self.assertEqual(volume["secret"]["defaultMode"], 0o440, name)


class Reached(unittest.TestCase):
    def test_sites_find_the_coordinator_on_443(self):
        service = kit.find(kit.render(kit.LEAST), "Service", kit.FULLNAME)["spec"]
        self.assertEqual(service["ports"], [{"name": "grpc", "port": 443, "targetPort": "grpc"}])

    def test_an_ingress_passes_tls_through(self):
        ingress = kit.find(kit.render(_EVERYTHING), "Ingress", kit.FULLNAME)
        self.assertEqual(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/ssl-passthrough"], "true")
        self.assertEqual(ingress["spec"]["tls"], [{"hosts": ["coordinator.example.org"]}])
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        self.assertEqual(backend, {"name": kit.FULLNAME, "port": {"name": "grpc"}})

    def test_a_tls_route_leads_to_the_service(self):
        route = kit.find(kit.render(_EVERYTHING), "TLSRoute", kit.FULLNAME)["spec"]
        self.assertEqual(route["rules"], [{"backendRefs": [{"name": kit.FULLNAME, "port": 443}]}])

    def test_an_ingress_without_a_name_is_refused(self):
        self.assertIn("ingress.host", kit.refusal({**kit.LEAST, "ingress": {"enabled": True}}))

    def test_metrics_are_not_reached_through_the_service_of_the_sites(self):
        for service in [one for one in kit.render(_EVERYTHING) if one["kind"] == "Service"]:
            if any(port["name"] == "metrics" for port in service["spec"]["ports"]):
                self.assertEqual(service["spec"].get("clusterIP"), "None", service["metadata"]["name"])

    def test_the_coordinator_connects_to_nobody(self):
        policy = kit.find(kit.render(kit.LEAST), "NetworkPolicy", f"{kit.FULLNAME}-coordinator")["spec"]
        self.assertEqual((policy["policyTypes"], policy["egress"]), (["Ingress", "Egress"], []))

    def test_where_only_some_may_connect_the_releases_own_pods_may_too(self):
        rule = kit.find(kit.render(_EVERYTHING), "NetworkPolicy", f"{kit.FULLNAME}-coordinator")["spec"]["ingress"][0]
        self.assertEqual(rule["from"], [{"ipBlock": {"cidr": "192.0.2.0/24"}},
                                        {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": kit.RELEASE}}}])

    def test_a_worker_connects_to_the_coordinator_and_dns_only(self):
        egress = kit.find(kit.render(_WORKERS), "NetworkPolicy", f"{kit.FULLNAME}-workers")["spec"]["egress"]
        self.assertEqual([[port["port"] for port in rule["ports"]] for rule in egress], [[53, 53], [8443]])
        self.assertEqual(egress[1]["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "coordinator")


class Pods(unittest.TestCase):
    """Of all examples."""

    def each(self):
        for path in kit.values_files():
            for name, spec in kit.pod_specs(kit.render(yaml.safe_load(path.read_text(encoding="utf-8")))):
                with self.subTest(values=path.name, pod=name):
                    yield spec

    def test_are_restricted(self):
        for spec in self.each():
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            # Of what the user puts in between, the user decides.
            own = [one for one in spec.get("initContainers", []) if one["name"] == "configuration"]
            for one in [*spec["containers"], *own]:
                self.assertEqual(one["securityContext"], {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                          "capabilities": {"drop": ["ALL"]}})

    def test_have_no_token_of_the_cluster(self):
        for spec in self.each():
            self.assertIs(spec["automountServiceAccountToken"], False)

    def test_mount_only_volumes_that_they_have(self):
        for path in kit.values_files():
            for one in kit.render(yaml.safe_load(path.read_text(encoding="utf-8"))):
                claims = {claim["metadata"]["name"] for claim in one.get("spec", {}).get("volumeClaimTemplates", [])}
                for name, spec in kit.pod_specs([one]):
                    volumes = claims | {volume["name"] for volume in spec["volumes"]}
                    for inner in [*spec["containers"], *spec.get("initContainers", [])]:
                        with self.subTest(values=path.name, pod=name, container=inner["name"]):
                            self.assertLessEqual({mount["name"] for mount in inner["volumeMounts"]}, volumes)

    def test_are_found_by_what_selects_them(self):
        for path in kit.values_files():
            for one in kit.render(yaml.safe_load(path.read_text(encoding="utf-8"))):
                if one["kind"] == "StatefulSet":
                    wanted, labels = one["spec"]["selector"]["matchLabels"], one["spec"]["template"]["metadata"]["labels"]
                    self.assertLessEqual(wanted.items(), labels.items(), one["metadata"]["name"])

    def test_a_user_may_be_left_to_the_platform(self):
        values = {**kit.LEAST, "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
        self.assertNotIn("runAsUser", pod(kit.coordinator(values))["securityContext"])


class Workers(unittest.TestCase):
    def test_there_are_none_by_default(self):
        self.assertEqual([one for one in kit.render(kit.LEAST) if "worker" in one["metadata"]["name"]], [])

    def test_each_site_has_a_pod_with_its_name_and_its_own_secret_only(self):
        made = kit.worker(_WORKERS, "lyon")
        self.assertEqual(made["spec"]["replicas"], 1)
        self.assertEqual([volume["secret"]["secretName"] for volume in pod(made)["volumes"] if "secret" in volume], ["lyon-tls"])
        self.assertEqual(kit.config_of(kit.render(_WORKERS), f"{kit.FULLNAME}-worker-lyon", "worker.yaml")["site"], "lyon")

    def test_they_connect_to_the_coordinator_of_the_release(self):
        config = kit.config_of(kit.render(_WORKERS), f"{kit.FULLNAME}-worker-berlin", "worker.yaml")
        self.assertEqual(config["coordinator"], f"{kit.FULLNAME}.{kit.NAMESPACE}.svc:443")

    def test_what_a_site_sets_is_laid_over_what_all_have(self):
        config = kit.config_of(kit.render(_WORKERS), f"{kit.FULLNAME}-worker-lyon", "worker.yaml")
        self.assertEqual((config["persist"], config["consent"]["max_rounds"], config["consent"]["runs"]),
                         ("every_round", 1000, ["example-*"]))
        other = kit.config_of(kit.render(_WORKERS), f"{kit.FULLNAME}-worker-berlin", "worker.yaml")
        self.assertEqual((other["persist"], other["consent"]["max_rounds"]), ("sparingly", 1000000))

    def test_a_site_has_its_shard_of_the_data_and_may_not_write_it(self):
        mount, = [one for one in container(kit.worker(_WORKERS))["volumeMounts"] if one["name"] == "data"]
        self.assertEqual(mount, {"name": "data", "mountPath": "/data", "readOnly": True, "subPath": "shard-0"})

    def test_data_may_be_put_there_by_a_container_that_runs_first(self):
        spec = pod(kit.worker(_WORKERS, "oslo"))
        self.assertIn({"name": "data", "emptyDir": {}}, spec["volumes"])
        self.assertEqual([one["name"] for one in spec["initContainers"]], ["data"])

    def test_a_site_may_have_a_device_and_a_node_of_its_own(self):
        spec = pod(kit.worker(_WORKERS, "oslo"))
        self.assertEqual(spec["containers"][0]["resources"]["limits"]["example.org/device"], 1)
        self.assertEqual((spec["runtimeClassName"], spec["nodeSelector"]), ("isolated", {"disk": "local"}))

    def test_a_change_of_consent_does_not_restart_one_and_a_change_of_threads_does(self):
        before = kit.worker(kit.WORKER)
        consent = kit.merged(kit.WORKER, {"workers": {"config": {"consent": {"runs": ["other"]}}}})
        threads = kit.merged(kit.WORKER, {"workers": {"config": {"threads": 3}}})
        self.assertEqual(kit.worker(consent), before)
        self.assertNotEqual(checksum(kit.worker(threads)), checksum(before))
        self.assertIn("--watch-config", container(kit.worker(kit.WORKER))["args"])

    def test_a_site_that_the_coordinator_would_refuse_is_refused(self):
        self.assertIn("berlin", kit.refusal({**kit.WORKER, "sites": ["lyon"]}))

    def test_no_run_is_consented_to_by_default(self):
        self.assertIn("consents to no run", kit.refusal(kit.merged(kit.WORKER, {"workers": {"config": {"consent": {"runs": []}}}})))

    def test_an_institution_runs_its_worker_alone(self):
        objects = kit.render(_SITE_ONLY)
        self.assertEqual([one["metadata"]["name"] for one in objects if one["kind"] == "StatefulSet"], [f"{kit.FULLNAME}-worker-berlin"])
        self.assertNotIn("PodDisruptionBudget", kit.kinds(objects))
        egress = kit.find(objects, "NetworkPolicy", f"{kit.FULLNAME}-workers")["spec"]["egress"]
        self.assertIn({"ports": [{"port": 443}]}, egress)

    def test_a_name_that_is_too_long_for_a_pod_is_refused(self):
        site = "a" * 50
        values = kit.merged(kit.WORKER, {"sites": [site], "workers": {"sites": [{"name": site, "tls": {"existingSecret": "x"}}]}})
        self.assertIn("fullnameOverride", kit.refusal(values))


class Refused(unittest.TestCase):
    def test_a_release_without_federation_sites_or_operators(self):
        for key, empty in (("federation", ""), ("sites", []), ("operators", [])):
            self.assertIn(key, kit.refusal({**kit.LEAST, key: empty}))

    def test_keys_that_do_not_exist_at_any_depth(self):
        for values in ({"sits": []}, {"coordinator": {"config": {"leese": "30s"}}},
                       {"workers": {"sites": [{"name": "berlin", "dta": {}}]}}):
            self.assertIn("not allowed", kit.refusal(kit.merged(kit.LEAST, values)))


class Watched(unittest.TestCase):
    def test_every_page_of_metrics_is_scraped_under_the_name_of_the_release(self):
        objects = kit.render(kit.merged(_WORKERS, {"metrics": {"serviceMonitor": {"enabled": True}}}))
        spec = kit.find(objects, "ServiceMonitor", kit.FULLNAME)["spec"]
        self.assertEqual(spec["jobLabel"], "app.kubernetes.io/instance")
        wanted = spec["selector"]["matchLabels"]
        found = [one["metadata"]["name"] for one in objects
                 if one["kind"] == "Service" and wanted.items() <= one["metadata"]["labels"].items()]
        self.assertEqual(sorted(found), [f"{kit.FULLNAME}-coordinator", f"{kit.FULLNAME}-workers"])

    def test_all_alerts_but_those_left_out_lead_to_the_runbook(self):
        rule = kit.find(kit.render(_EVERYTHING), "PrometheusRule", kit.FULLNAME)
        alerts = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
        source = yaml.safe_load((kit.ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
        self.assertEqual({one["alert"] for one in alerts},
                         {one["alert"] for group in source["groups"] for one in group["rules"]} - {"TributarySiteAway"})
        for one in alerts:
            self.assertTrue(one["annotations"]["runbook_url"].startswith(f"{_DOCS}how-to/runbook.md#"), one["alert"])

    def test_expressions_are_those_of_the_source(self):
        rule = kit.find(kit.render(_EVERYTHING), "PrometheusRule", kit.FULLNAME)
        rendered = {one.get("alert", one.get("record")): (one["expr"], one.get("for"), one.get("annotations", {}).get("summary"))
                    for group in rule["spec"]["groups"] for one in group["rules"]}
        for file in ("alerts.yaml", "recording.yaml"):
            source = yaml.safe_load((kit.ROOT / "deploy" / "prometheus" / file).read_text(encoding="utf-8"))
            for one in [one for group in source["groups"] for one in group["rules"]]:
                name = one.get("alert", one.get("record"))
                if name != "TributarySiteAway":
                    self.assertEqual(rendered[name], (one["expr"], one.get("for"), one.get("annotations", {}).get("summary")))

    def test_dashboards_are_whole_and_their_links_lead_to_the_docs(self):
        found = kit.find(kit.render(_EVERYTHING), "ConfigMap", f"{kit.FULLNAME}-dashboards")
        self.assertEqual(found["metadata"]["labels"]["grafana_dashboard"], "1")
        for path in (kit.ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"):
            text = found["data"][f"tributary-{path.name}"]
            self.assertEqual(json.loads(text.replace(_DOCS, "docs/")), json.loads(path.read_text(encoding="utf-8")))
            self.assertNotIn('"url": "docs/', text)


class Operated(unittest.TestCase):
    def test_helm_test_checks_configuration_and_certificate(self):
        test = kit.find(kit.render(kit.LEAST), "Pod", f"{kit.FULLNAME}-test")
        self.assertEqual(test["metadata"]["annotations"]["helm.sh/hook"], "test")
        self.assertIn("--check", test["spec"]["containers"][0]["args"])

    def test_helm_test_asks_the_coordinator_as_an_operator_where_it_has_a_certificate(self):
        spec = kit.find(kit.render(_EVERYTHING), "Pod", f"{kit.FULLNAME}-test")["spec"]
        self.assertIn("--check", spec["initContainers"][0]["args"])
        self.assertEqual(spec["containers"][0]["command"], ["/usr/bin/tributary"])
        self.assertIn(f"--coordinator={kit.FULLNAME}.{kit.NAMESPACE}.svc:443", spec["containers"][0]["args"])

    def test_helm_can_show_what_its_test_says(self):
        # It asks for the log of a pod without naming a container.
        for values in (kit.LEAST, _EVERYTHING):
            self.assertEqual(len(kit.find(kit.render(values), "Pod", f"{kit.FULLNAME}-test")["spec"]["containers"]), 1)

    def test_maintenance_stops_the_coordinator_and_works_on_its_volume(self):
        objects = kit.render(kit.merged(kit.LEAST, {"maintenance": {"command": ["journal", "show", "/var/lib/tributary/data"]}}))
        self.assertEqual(kit.find(objects, "StatefulSet", f"{kit.FULLNAME}-coordinator")["spec"]["replicas"], 0)
        spec = kit.find(objects, "Job", f"{kit.FULLNAME}-maintenance-1")["spec"]["template"]["spec"]
        self.assertIn({"name": "data", "persistentVolumeClaim": {"claimName": f"data-{kit.FULLNAME}-coordinator-0"}}, spec["volumes"])
        self.assertEqual(spec["containers"][0]["args"], ["journal", "show", "/var/lib/tributary/data"])

    def test_labels_of_the_user_are_on_every_object(self):
        for one in kit.render(_EVERYTHING):
            self.assertEqual(one["metadata"]["labels"]["example.org/tenant"], "ml", one["metadata"]["name"])


class Notes(unittest.TestCase):
    def test_after_an_install_they_lead_to_the_first_run(self):
        text = kit.notes(kit.LEAST)
        for step in ("helm -n federation test fed", "service.type=LoadBalancer", "run submit", "run watch", "861Mi"):
            self.assertIn(step, text)

    def test_they_say_what_sites_connect_to(self):
        self.assertIn("coordinator.example.org:443", kit.notes(_EVERYTHING))

    def test_of_workers_alone_they_name_their_logs(self):
        self.assertIn(f"logs -f statefulset/{kit.FULLNAME}-worker-berlin", kit.notes(_SITE_ONLY))

    def test_while_maintenance_is_on_they_say_how_to_end_it(self):
        text = kit.notes(kit.merged(kit.LEAST, {"maintenance": {"command": ["version"]}}))
        self.assertIn(f"job/{kit.FULLNAME}-maintenance-1", text)
        self.assertIn("maintenance.command", text)


class ReadByThePrograms(unittest.TestCase):
    """The configuration that the chart writes, with real certificates."""

    def setUp(self):
        if _BINARIES is None:
            self.skipTest("without --binaries")
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.tributary("pki", "init", self.folder / "pki", "--federation", "example")

    def tributary(self, *arguments, check=True):
        return subprocess.run([_BINARIES / "tributary", *arguments], capture_output=True, text=True, check=check)

    def place(self, text, stem):
        """Paths of the pod, as those of files here."""
        for inside, here in (("ca.crt", "ca.crt"), ("tls.crt", f"{stem}.crt"), ("tls.key", f"{stem}.key")):
            text = text.replace(f"/etc/tributary-tls/{inside}", str(self.folder / "pki" / here))
        for inside, here in (("tls.crt", "ca.crt"), ("tls.key", "ca.key")):
            text = text.replace(f"/etc/tributary-ca/{inside}", str(self.folder / "pki" / here))
        text = text.replace("/var/lib/tributary", str(self.folder / "var")).replace("data: /data", f"data: {self.folder / 'data'}")
        path = self.folder / f"{stem}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def test_the_coordinator_accepts_its_own(self):
        self.tributary("pki", "issue", self.folder / "pki", "--coordinator", "--host", "127.0.0.1")
        for values in (kit.LEAST, _EVERYTHING):
            text = kit.find(kit.render(values), "ConfigMap", f"{kit.FULLNAME}-coordinator")["data"]["coordinator.yaml"]
            result = subprocess.run([_BINARIES / "tributary-coordinator", "--config", self.place(text, "coordinator"), "--check"],
                                    capture_output=True, text=True, check=False)
            self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_a_worker_accepts_its_own(self):
        (self.folder / "data").mkdir()
        (self.folder / "data" / "text.txt").write_text("text", encoding="utf-8")
        self.tributary("pki", "issue", self.folder / "pki", "--site", "berlin")
        for values in (_WORKERS, _SITE_ONLY):
            text = kit.find(kit.render(values), "ConfigMap", f"{kit.FULLNAME}-worker-berlin")["data"]["worker.yaml"]
            # Nobody is there; that is found last.
            for address in ("coordinator.example.org:443", f"{kit.FULLNAME}.{kit.NAMESPACE}.svc:443"):
                text = text.replace(address, "127.0.0.1:1")
            text = text.replace("http://proxy.example.org:3128", "none")
            result = self.tributary("doctor", "--worker", self.place(text, "site-berlin"), "--format", "json", check=False)
            failed = [one["check"] for one in json.loads(result.stdout)["checks"] if one["result"] == "fail"]
            self.assertEqual(failed, ["coordinator"], result.stdout)


class Conforms(unittest.TestCase):
    def test_helm_finds_nothing_to_complain_about(self):
        for path in kit.values_files():
            with self.subTest(path.name):
                result = kit.helm("lint", "--strict", kit.CHART, "--values", path, check=False)
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_object_follows_the_strict_schema_of_its_kind(self):
        if kit.program("kubeconform") is None or not kit.SCHEMAS.is_dir():
            self.skipTest("no kubeconform, or no schemas: bash tests/chart/tools.sh")
        schemas = f"{kit.SCHEMAS}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        for path in kit.values_files():
            with self.subTest(path.name):
                text = yaml.safe_dump_all(kit.render(yaml.safe_load(path.read_text(encoding="utf-8"))))
                result = subprocess.run([kit.program("kubeconform"), "-strict", "-schema-location", schemas], input=text,
                                        capture_output=True, text=True, check=False)
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))


if __name__ == "__main__":
    if kit.program("helm") is None:
        print("skipped: helm is not here: bash tests/chart/tools.sh, or bash tests/run.sh --chart")
        sys.exit(_SKIPPED)
    if "--binaries" in sys.argv:
        index = sys.argv.index("--binaries")
        folder = pathlib.Path(sys.argv[index + 1])
        del sys.argv[index:index + 2]
        _BINARIES = folder if (folder / "tributary-coordinator").exists() and (folder / "tributary").exists() else None
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(_SKIPPED if program.result.skipped else 0)
