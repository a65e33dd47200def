"""JSON schemas of all kinds that the chart renders, for kubeconform: Kubernetes' own, and those of CRDs.

They are strict: a field that a schema does not name is an error. Files are named KIND-GROUP-VERSION.json.
"""

import json

from .. import chart, tools
from ..tools import HERE, PINS

INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def directory():
    """The directory of the schemas."""
    sources = [(HERE / file).read_text() for file in ("chart/schemas.py", "k8s/go.mod", "cert-manager/go.mod")]
    return tools.cached("schemas", [PINS["schemas"], *sources], _make)


def _make(into):
    source = tools.go_module("k8s.io/kubernetes", {"within": "k8s"})
    kubernetes = json.loads((source / "api/openapi-spec/swagger.json").read_text())
    definitions = {name: _strict(schema) for name, schema in kubernetes["definitions"].items()}
    definitions[INT_OR_STRING] = definitions[QUANTITY] = {"type": ["string", "integer", "number"]}
    for name, schema in kubernetes["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            used = {}
            _collect(name, definitions, used)
            _write(into, kind["kind"], kind["group"], kind["version"], {"$ref": f"#/definitions/{name}", "definitions": used})
    for module, pin in PINS["schemas"].items():
        for file in pin["files"]:
            (crd,) = chart.read((tools.go_module(module, pin) / file).read_text())
            for version in crd["spec"]["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                _write(into, crd["spec"]["names"]["kind"], crd["spec"]["group"], version["name"], schema)


def _strict(schema):
    """The schema, which now refuses fields that it does not name."""
    if isinstance(schema, list):
        return [_strict(it) for it in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        strict["additionalProperties"] = False
    return strict


def _collect(name, definitions, used):
    """Adds a definition and all that it refers to."""
    if name in used:
        return
    used[name] = definitions[name]
    text = json.dumps(definitions[name])
    for part in text.split('"#/definitions/')[1:]:
        _collect(part.partition('"')[0], definitions, used)


def _write(into, kind, group, version, schema):
    suffix = f"-{group.partition('.')[0]}-{version}" if group else f"-{version}"
    (into / f"{kind.lower()}{suffix}.json").write_text(json.dumps(schema))
