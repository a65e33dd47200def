"""What the chart's policies make of pods and of what makes pods, by the API server's own code."""

import copy
import unittest

from . import NAME, judged, render

LABEL = "recordings.revenue.io/inject"
DESTINATION = "recordings.revenue.io/destination"
VERSIONS = {"Pod": "v1", "ReplicationController": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}


def found(policy, *requests, settings=()):
    """What the policy says of each request: (object before, object after)."""
    asked = [
        {
            "user": "somebody",
            "operation": "UPDATE" if before else "CREATE",
            "resource": after["kind"].lower() + "s",
            "oldObject": before,
            "object": after,
        }
        for before, after in requests
    ]
    return judged([render(*settings)["ValidatingAdmissionPolicy", f"{NAME}-{policy}"]], asked)


def metadata(labels, annotations):
    return {"labels": labels, "annotations": annotations}


def made(kind, pod, own=None, namespace="calls"):
    """An object of this kind, whose pods have this metadata."""
    spec = {"containers": [{"name": "recorder", "image": "recorder"}]}
    whole = {"apiVersion": VERSIONS.get(kind, "apps/v1"), "kind": kind}
    if kind == "Pod":
        return whole | {"metadata": {"name": "a", "namespace": namespace} | pod, "spec": spec}
    whole["metadata"] = {"name": "a", "namespace": namespace} | (own or {})
    template = {"template": {"metadata": pod, "spec": spec}}
    whole["spec"] = {"jobTemplate": {"spec": template}} if kind == "CronJob" else template
    return whole


KINDS = ("Pod", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")


class UnlabelledTest(unittest.TestCase):
    def test_whoever_applies_annotations_without_the_label_is_warned_whatever_the_kind(self):
        annotated = metadata({"app": "a"}, {DESTINATION: "acme", "example.com/a": "b"})
        labelled = metadata({LABEL: "true"}, {DESTINATION: "acme"})
        opted_out = metadata({LABEL: "false"}, {DESTINATION: "acme"})
        plain = metadata({"app": "a"}, {"example.com/a": "b"})
        for kind in KINDS:
            with self.subTest(kind):
                cases = [(None, made(kind, it)) for it in (annotated, labelled, opted_out, plain, {})]
                said, *silent = found("unlabelled", *cases)
                self.assertEqual(silent, [[], [], [], []])
                self.assertEqual(len(said), 1, said)
                self.assertIn(f"{DESTINATION} is read only on pods with the label", said[0])
                self.assertIn("add the label to " + ("metadata.labels" if kind == "Pod" else "spec."), said[0])

    def test_an_edit_is_warned_of_as_well_and_what_a_controller_makes_is_not(self):
        before = made("Deployment", metadata({}, {}))
        after = made("Deployment", metadata({}, {DESTINATION: "acme"}))
        controlled = copy.deepcopy(made("ReplicaSet", metadata({}, {DESTINATION: "acme"})))
        owned = copy.deepcopy(controlled)
        for it, controller in ((controlled, True), (owned, False)):
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "uid": "u", "controller": controller}
            it["metadata"]["ownerReferences"] = [owner]
        answers = found("unlabelled", (before, after), (None, controlled), (None, owned))
        self.assertEqual([len(it) for it in answers], [1, 0, 1])

    def test_what_would_be_refused_or_ignored_later_is_said_where_it_is_applied(self):
        destination = {DESTINATION: "acme"}
        for template, own, namespace, says in (
            (metadata({LABEL: "yes"}, destination), {}, "calls", 'is "yes", with which every pod will be refused'),
            (metadata({LABEL: "true"}, {}), {}, "calls", "name no destination"),
            (metadata({}, {}), metadata({LABEL: "true"}, {}), "calls", f"{LABEL} is read only on pods, and this is"),
            (metadata({}, {}), metadata({}, destination), "calls", f"{DESTINATION} is read only on pods, and this is"),
            (metadata({LABEL: "true"}, destination), {}, NAME, f"pods in namespace {NAME} never get a sidecar"),
            (metadata({LABEL: "true"}, destination), {}, "kube-system", "pods in namespace kube-system never get"),
        ):
            with self.subTest(says):
                right = made("Deployment", metadata({LABEL: "true"}, destination), metadata({LABEL: "true"}, {}))
                said, silent = found("unlabelled", (None, made("Deployment", template, own, namespace)), (None, right))
                self.assertEqual((len(said), silent), (1, []), said)
                self.assertIn(says, said[0])


class LabelTest(unittest.TestCase):
    def test_a_new_pod_with_a_label_that_asks_for_nothing_is_refused_and_an_old_one_is_left_alone(self):
        for value, is_refused in (("yes", True), ("True", True), ("1", True), ("", True), ("true", False), ("false", False)):
            with self.subTest(value):
                pod = made("Pod", metadata({LABEL: value}, {DESTINATION: "acme"}))
                before = copy.deepcopy(pod)
                before["metadata"]["finalizers"] = ["example.com/hold"]
                created, updated = found("label", (None, pod), (before, pod))
                self.assertEqual((bool(created), updated), (is_refused, []))
                self.assertTrue(all(f'is "{value}"' in it and 'write "true"' in it for it in created), created)

    def test_pods_without_the_label_and_those_of_excluded_namespaces_are_not_touched(self):
        without = made("Pod", metadata({"app": "a"}, {DESTINATION: "acme"}))
        excluded = [made("Pod", metadata({LABEL: "yes"}, {}), namespace=it) for it in ("kube-system", NAME)]
        self.assertEqual(found("label", *((None, it) for it in [without, *excluded])), [[], [], []])
