"""Writes strict schemas for kubeconform: schemas.py OUT WHEEL CRD...

Of Kubernetes from the Python package kubernetes-validate (its WHEEL), of custom resources from the CRD files of their makers. Nothing is
asked of the network here, nor when the schemas are used.
"""

import json
import pathlib
import sys
import zipfile

import yaml

_KUBERNETES = "1.36.0"


def of_kubernetes(wheel):
    """(name, schema) of every kind."""
    folder = f"kubernetes_validate/kubernetes-json-schema/v{_KUBERNETES}-local-strict/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(folder) and name.endswith(".json"):
                # References and ids are of the package's own loader.
                schema = json.loads(archive.read(name).decode().replace('"/api/_definitions.json', '"_definitions.json'))
                schema.pop("$id", None)
                yield name.removeprefix(folder), schema


def close(schema):
    """Refuses unknown keys, which a cluster would drop in silence."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("anyOf", None)
            schema["type"] = ["integer", "string"]
        for key, value in schema.items():
            # What these hold is said besides `properties`, not instead of it.
            if key not in ("anyOf", "oneOf", "allOf", "not"):
                close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)


def of_definitions(path):
    for definition in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        spec = (definition or {}).get("spec", {})
        for version in spec.get("versions", []):
            schema = version["schema"]["openAPIV3Schema"]
            # What every object has is not in a CRD.
            schema["properties"]["metadata"] = {"type": "object"}
            close(schema)
            yield f"{spec['names']['kind'].lower()}-{spec['group'].split('.')[0]}-{version['name']}.json", schema


def main(out, wheel, *definitions):
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    schemas = dict(of_kubernetes(wheel))
    for path in definitions:
        schemas.update(of_definitions(pathlib.Path(path)))
    if "statefulset-apps-v1.json" not in schemas:
        raise SystemExit(f"schemas: {wheel} has none of Kubernetes {_KUBERNETES}")
    for name, schema in schemas.items():
        (folder / name).write_text(json.dumps(schema), encoding="utf-8")
    print(f"{len(schemas)} schemas in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
