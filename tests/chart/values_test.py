"""What of the chart can be checked without helm: its schema, and what is made or repeated in it."""

import json
import re
import subprocess
import sys
import unittest

import kit  # first: says what is missing
import yaml

try:
    import jsonschema
except ImportError:
    print("skipped: needs python3-jsonschema (bash deploy/install-deps.sh --tests)")
    sys.exit(77)

sys.path.append(str(kit.ROOT / "tests" / "repository"))
import documented  # noqa: E402

_SCHEMA = json.loads((kit.CHART / "values.schema.json").read_text(encoding="utf-8"))
_VALUES = yaml.safe_load((kit.CHART / "values.yaml").read_text(encoding="utf-8"))
# Keys of coordinator.yaml and worker.yaml that follow from other values.
_OF_THE_CHART = {"federation", "data_dir", "listen", "health_listen", "metrics_listen", "status_listen", "tls", "sites", "operators",
                 "auditors", "enrol_listen", "enrolment", "site", "coordinator", "data", "state_dir"}


def objects_in(schema, path=()):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from objects_in(value, (*path, key))


def keys_of(message):
    """Fields of a message of the configuration."""
    return {field for _, field in documented.fields_of([message])}


class Schema(unittest.TestCase):
    def setUp(self):
        self.validator = jsonschema.Draft7Validator(_SCHEMA)

    def test_it_is_a_schema(self):
        jsonschema.Draft7Validator.check_schema(_SCHEMA)

    def test_the_defaults_and_all_examples_follow_it(self):
        for path in [kit.CHART / "values.yaml", *kit.values_files()]:
            with self.subTest(path.name):
                values = yaml.safe_load(path.read_text(encoding="utf-8"))
                self.assertEqual([error.message for error in self.validator.iter_errors(values)], [])

    def test_no_object_of_the_charts_own_takes_unknown_keys(self):
        # Maps of names that users choose, and objects of Kubernetes, whose schema is the cluster's.
        free = {("definitions", "strings"), ("definitions", "object")}
        for path, schema in objects_in(_SCHEMA):
            with self.subTest("/".join(path)):
                self.assertTrue(path in free or schema.get("additionalProperties", True) is not True)

    def test_it_has_the_keys_of_the_values_and_no_others(self):
        def resolved(schema):
            return _SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema

        def compare(schema, values, path):
            properties = resolved(schema).get("properties")
            if properties is None or not isinstance(values, dict) or not values:
                return
            optional = {"requests", "limits", "claims", "global"}  # of Kubernetes, and of parent charts
            self.assertEqual(set(properties) - optional, set(values) - optional, path)
            for key, value in values.items():
                compare(properties[key], value, f"{path}.{key}")

        compare(_SCHEMA, _VALUES, "values")

    def test_a_second_coordinator_is_refused(self):
        self.assertTrue(list(self.validator.iter_errors({"coordinator": {"replicas": 2}})))

    def test_a_budget_that_stops_every_drain_is_refused(self):
        self.assertTrue(list(self.validator.iter_errors({"podDisruptionBudget": {"maxUnavailable": 0}})))


class Repeated(unittest.TestCase):
    def test_every_key_of_the_configuration_files_can_be_set(self):
        coordinator, worker = _VALUES["coordinator"]["config"], _VALUES["workers"]["config"]
        for message, keys in (("CoordinatorConfig", coordinator), ("SnapshotConfig", coordinator["snapshots"]),
                              ("LogConfig", coordinator["log"]), ("WorkerConfig", worker), ("BandwidthConfig", worker["bandwidth"]),
                              ("ConsentConfig", worker["consent"])):
            with self.subTest(message):
                self.assertEqual(keys_of(message) - _OF_THE_CHART, set(keys),
                                 "put it into values.yaml and values.schema.json of the chart, and run helm/generate.py")

    def test_chart_and_programs_have_one_version(self):
        chart = yaml.safe_load((kit.CHART / "Chart.yaml").read_text(encoding="utf-8"))
        project = re.search(r"project\(tributary VERSION ([\d.]+)", (kit.ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
        self.assertEqual((chart["version"], chart["appVersion"]), (project, project))

    def test_what_is_made_is_as_its_sources_say(self):
        result = subprocess.run([sys.executable, "-B", kit.ROOT / "helm" / "generate.py", "--check"], capture_output=True, text=True,
                                check=False)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
