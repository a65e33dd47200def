"""What the chart's policies make of requests, by the API server's own code; `tests/cluster` asks a real API server."""

import copy
import json
import unittest

from . import NAME, judged, render, schemas

CONTROLLER = f"system:serviceaccount:{NAME}:{NAME}-controller"
BROKER = f"system:serviceaccount:{NAME}:{NAME}-broker"
MODES = {"selfManaged": (), "certManager": ("--set=certificates=certManager",)}


def refusals(objects, kind, requests):
    """What refuses each request: (user, operation, object before, object after)."""
    names = [f"{NAME}-controller-{it}" for it in ("webhooks", "secrets", "events")]
    policies = [objects["ValidatingAdmissionPolicy", it] for it in names]
    asked = [
        {"user": user, "operation": operation, "resource": kind, "oldObject": before, "object": after}
        for user, operation, before, after in requests
    ]
    return judged(policies, asked)


def changed(before, path, value):
    """The object with the field at a path (`a.0.b`) set, or removed where the value is None."""
    after = copy.deepcopy(before)
    *way, last = (int(it) if it.isdigit() else it for it in path.split("/"))
    at = after
    for step in way:
        at = at[step]
    if value is None:
        del at[last]
    elif isinstance(at, list) and last == len(at):
        at.append(value)
    else:
        at[last] = value
    return after


class PoliciesTest(unittest.TestCase):
    def test_every_policy_is_bound_and_denies_but_for_the_one_that_warns(self):
        for settings in MODES.values():
            objects = render(*settings)
            policies = {name: it["spec"] for (kind, name), it in objects.items() if kind == "ValidatingAdmissionPolicy"}
            bindings = [it["spec"] for (kind, _), it in objects.items() if kind == "ValidatingAdmissionPolicyBinding"]
            actions = {it["policyName"]: (policies[it["policyName"]]["failurePolicy"], it["validationActions"]) for it in bindings}
            warns = {f"{NAME}-unlabelled": ("Ignore", ["Warn"])}
            self.assertEqual(actions, {name: ("Fail", ["Deny"]) for name in policies} | warns)

    def test_the_controller_changes_two_fields_of_its_webhook_configuration_only(self):
        for mode, settings in MODES.items():
            objects = render(*settings)
            before = stored(objects["MutatingWebhookConfiguration", NAME])
            second = {**before["webhooks"][0], "name": "another.recordings.revenue.io"}
            selector = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
            permitted = {
                "nothing": before,
                "the CA": changed(before, "webhooks/0/clientConfig/caBundle", "bmV3"),
                "the path": changed(before, "webhooks/0/clientConfig/service/path", "/inject/4f1c"),
            }
            refused = {
                "rules": changed(before, "webhooks/0/rules/0/resources", ["*"]),
                "no rules": changed(before, "webhooks/0/rules", None),
                "a URL": changed(before, "webhooks/0/clientConfig", {"url": "https://elsewhere.example", "caBundle": "b2xk"}),
                "a URL beside the Service": changed(before, "webhooks/0/clientConfig/url", "https://elsewhere.example"),
                "another Service": changed(before, "webhooks/0/clientConfig/service/name", "elsewhere"),
                "another namespace": changed(before, "webhooks/0/clientConfig/service/namespace", "elsewhere"),
                "another port": changed(before, "webhooks/0/clientConfig/service/port", 443),
                "all pods": changed(before, "webhooks/0/objectSelector", {}),
                "other pods": changed(before, "webhooks/0/objectSelector", selector),
                "all namespaces": changed(before, "webhooks/0/namespaceSelector", None),
                "failing open": changed(before, "webhooks/0/failurePolicy", "Ignore"),
                "another name": changed(before, "webhooks/0/name", "other.recordings.revenue.io"),
                "a second webhook": changed(before, "webhooks/1", second),
                "the same name twice": changed(before, "webhooks/1", before["webhooks"][0]),
                "no webhook": changed(before, "webhooks", []),
                "a condition": changed(before, "webhooks/0/matchConditions", [{"name": "a", "expression": "false"}]),
                "an owner": changed(before, "metadata/ownerReferences", [{"kind": "Pod", "name": "a", "uid": "b"}]),
                "an annotation": changed(before, "metadata/annotations", {"cert-manager.io/inject-ca-from-secret": "a/b"}),
                "a label": changed(before, "metadata/labels", {}),
            }
            for who, cases, is_refused in ((CONTROLLER, permitted, False), (CONTROLLER, refused, True), ("admin", refused, False)):
                requests = [(who, "UPDATE", before, after) for after in cases.values()]
                for case, found in zip(cases, refusals(objects, "mutatingwebhookconfigurations", requests), strict=True):
                    with self.subTest(f"{mode}: {case} by {who}"):
                        self.assertEqual(bool(found), is_refused, found)
                        self.assertTrue(all("changes only webhooks[*].clientConfig.caBundle" in it for it in found))
            others = [(CONTROLLER, "CREATE", None, before), (CONTROLLER, "DELETE", before, None)]
            self.assertTrue(all(refusals(objects, "mutatingwebhookconfigurations", others)))

    def test_the_policy_knows_every_field_that_a_webhook_can_have(self):
        schema = json.loads((schemas.directory() / "mutatingwebhookconfiguration-admissionregistration-v1.json").read_text())
        fields = {
            name: set(schema["definitions"][f"io.k8s.api.admissionregistration.v1.{name}"]["properties"])
            for name in ("MutatingWebhook", "WebhookClientConfig", "ServiceReference")
        }
        policy = render()["ValidatingAdmissionPolicy", f"{NAME}-controller-webhooks"]["spec"]["validations"][1]["expression"]
        compared = {it for it in fields["MutatingWebhook"] if f"after.?{it} == before.?{it}" in policy}
        self.assertEqual(fields["MutatingWebhook"] - compared, {"name", "clientConfig"})
        self.assertEqual(fields["WebhookClientConfig"], {"url", "service", "caBundle"})
        compared = {it for it in fields["ServiceReference"] if f"service[?'{it}'] == before" in policy}
        self.assertEqual(fields["ServiceReference"] - compared, {"path"})

    def test_the_controller_writes_its_own_secrets_with_their_own_types_only(self):
        kept = {"webhook-ca": "Opaque", "webhook-tls": "kubernetes.io/tls", "broker-tls": "kubernetes.io/tls"}
        token = "kubernetes.io/service-account-token"
        permitted = {f"its {it}": secret(f"{NAME}-{it}", type_) for it, type_ in kept.items()}
        refused = {f"{it} as a token of an account": secret(f"{NAME}-{it}", token) for it in kept}
        refused |= {
            "another name": secret("other", "Opaque"),
            "a name that the server makes": secret(None, "Opaque"),
            "another namespace": secret(f"{NAME}-webhook-ca", "Opaque", "kube-system"),
            "the platform's key": secret(f"{NAME}-aws", "Opaque"),
            "a CA as a server's certificate": secret(f"{NAME}-webhook-ca", "kubernetes.io/tls"),
            "an External ID": secret(f"{NAME}-webhook-ca", "recordings.revenue.io/external-id"),
        }
        for mode, settings in MODES.items():
            objects = render(*settings)
            for who, cases, is_refused in ((CONTROLLER, permitted, False), (CONTROLLER, refused, True), ("admin", refused, False)):
                for operation in ("CREATE", "UPDATE"):
                    requests = [(who, operation, it if operation == "UPDATE" else None, it) for it in cases.values()]
                    for case, found in zip(cases, refusals(objects, "secrets", requests), strict=True):
                        with self.subTest(f"{mode}: {operation} of {case} by {who}"):
                            self.assertEqual(bool(found), is_refused, found)
                            self.assertTrue(all("writes only the Secrets" in it for it in found), found)
            gone = [(CONTROLLER, "DELETE", it, None) for it in permitted.values()]
            self.assertTrue(all(refusals(objects, "secrets", gone)))

    def test_controller_and_broker_leave_the_events_of_others_alone(self):
        ours, theirs = event("recording-controller"), event("kubelet")
        cases = {
            "its own": (None, ours, False),
            "one more of its own": (ours, event("recording-controller", 2), False),
            "another's": (None, theirs, True),
            "another's made its own": (theirs, ours, True),
            "its own made another's": (ours, theirs, True),
        }
        for who, binding in ((CONTROLLER, True), (BROKER, True), ("system:node:a", False)):
            requests = [(who, "UPDATE" if before else "CREATE", before, after) for before, after, _ in cases.values()]
            for (case, (_, _, is_refused)), found in zip(cases.items(), refusals(render(), "events", requests), strict=True):
                with self.subTest(f"{case} by {who}"):
                    self.assertEqual(bool(found), is_refused and binding, found)
                    self.assertTrue(all("write Events of their own only" in it for it in found), found)


def stored(configuration):
    """The configuration as an API server keeps it after the controller published the CA."""
    return changed(configuration, "webhooks/0/clientConfig/caBundle", "b2xk")


def secret(name, type_, namespace=NAME):
    metadata = {"namespace": namespace, **({"name": name} if name else {"generateName": f"{NAME}-webhook-"})}
    return {"apiVersion": "v1", "kind": "Secret", "type": type_, "metadata": metadata}


def event(reporting, count=1):
    metadata = {"name": "a", "namespace": "tenant-a"}
    series = {"count": count}
    return {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata, "reportingController": reporting, "series": series}
