"""What the chart's policies make of pods and of what makes pods, by the API server's own code."""

import copy
import unittest

from ..paths import ROOT
from . import NAME, judged, read, render

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


GOLDEN = ROOT / "src" / "domain" / "injection" / "golden"
AS_GOLDEN = ("--set=image.repository=registry.example/recording-operator", "--set-string=image.tag=1")


def golden(name):
    """A pod as the webhook leaves it."""
    (pod,) = read((GOLDEN / f"{name}.out.yaml").read_text())
    pod["metadata"].setdefault("namespace", "calls")
    return pod


def sidecar(pod):
    (found_,) = (it for it in pod["spec"]["initContainers"] if it["name"] == "recording-uploader")
    return found_


def changed(pod, change):
    pod = copy.deepcopy(pod)
    change(sidecar(pod))
    return pod


def with_resources(pod, requests, limits):
    def change(container):
        container["resources"]["requests"].update(requests)
        container["resources"]["limits"].update(limits)

    return changed(pod, change)


class SidecarTest(unittest.TestCase):
    def test_every_pod_that_the_webhook_makes_is_admitted(self):
        names = [it.name.removesuffix(".out.yaml") for it in sorted(GOLDEN.glob("*.out.yaml"))]
        pods = {it: golden(it) for it in names if it != "not-labelled"}
        self.assertGreater(len(pods), 9)
        answers = found("sidecar", *((None, it) for it in pods.values()), settings=AS_GOLDEN)
        self.assertEqual(dict(zip(pods, answers, strict=True)), {name: [] for name in pods})

    def test_the_sidecar_of_the_release_before_is_admitted(self):
        def change(container):
            container["env"] = [it for it in container["env"] if it["name"] in ("RECORDINGS_BROKER_URL", "RECORDINGS_BROKER_CA")]

        pod = with_resources(golden("recorder"), {"cpu": "10m", "memory": "32Mi"}, {"memory": "256Mi"})
        self.assertEqual(found("sidecar", (None, changed(pod, change)), settings=AS_GOLDEN), [[]])

    def test_requests_and_limits_are_admitted_up_to_the_charts_bounds_and_no_further(self):
        pod = golden("recorder")
        narrow = (
            "--set=uploader.resourceBounds.min.memory=128Mi",
            "--set=uploader.resourceBounds.max.memory=512Mi",
            "--set=uploader.resourceBounds.max.cpu=1",
        )
        unbounded = ("--set=uploader.resourceBounds.min=null", "--set=uploader.resourceBounds.max=null")
        beyond = ({"cpu": "64", "memory": "64Gi"}, {"cpu": "64", "memory": "64Gi", "ephemeral-storage": "1Ti"})
        for settings, requests, limits, is_admitted in (
            ((), {}, {"cpu": "50m"}, True),
            ((), {}, {"cpu": "49m"}, False),
            ((), {}, {"cpu": "4"}, True),
            ((), {}, {"cpu": "4001m"}, False),
            ((), {"cpu": "4"}, {}, True),
            ((), {"cpu": "5"}, {}, False),
            ((), {"cpu": "1m", "memory": "1Mi"}, {}, True),
            ((), {}, {"memory": "2Gi"}, True),
            ((), {}, {"memory": "2049Mi"}, False),
            ((), {}, {"memory": "63Mi"}, False),
            ((), {}, {"ephemeral-storage": "4Gi"}, True),
            ((), {}, {"ephemeral-storage": "5Gi"}, False),
            ((), {}, {"hugepages-2Mi": "2Mi"}, True),
            (narrow, {}, {"memory": "512Mi"}, True),
            (narrow, {}, {"memory": "513Mi"}, False),
            (narrow, {}, {"memory": "127Mi"}, False),
            (narrow, {}, {"cpu": "2"}, False),
            (unbounded, *beyond, True),
        ):
            with self.subTest(f"{settings} {requests} {limits}"):
                (answer,) = found("sidecar", (None, with_resources(pod, requests, limits)), settings=(*AS_GOLDEN, *settings))
                self.assertEqual(not answer, is_admitted, answer)
                self.assertTrue(all("(the chart's value uploader.resourceBounds)" in it for it in answer), answer)

    def test_what_the_chart_gives_each_sidecar_is_admitted_beyond_the_bounds(self):
        settings = (*AS_GOLDEN, "--set=uploader.resources.limits.cpu=8", "--set=uploader.resources.limits.memory=4Gi")
        for limits, is_admitted in (({"cpu": "8", "memory": "4096Mi"}, True), ({"cpu": "7"}, False)):
            (answer,) = found("sidecar", (None, with_resources(golden("recorder"), {}, limits)), settings=settings)
            self.assertEqual(not answer, is_admitted, answer)

    def test_only_variables_of_ours_with_values_that_the_webhook_writes_are_admitted(self):
        pod = golden("recorder")
        for name, value, is_admitted in (
            ("RUST_LOG", "debug", True),
            ("RUST_LOG", "trace", False),
            ("RUST_LOG", "info,aws_smithy=trace", False),
            ("RECORDINGS_SPOOL_VOLUME", "hostPath", True),
            ("RECORDINGS_SPOOL_VOLUME", "persistentVolumeClaim/calls-0", True),
            ("RECORDINGS_SPOOL_VOLUME", "persistentVolumeClaim/../x", False),
            ("RECORDINGS_SPOOL_VOLUME", "a\nb", False),
            ("RECORDINGS_SPOOL_SIZE_LIMIT", "1073741824", True),
            ("RECORDINGS_SPOOL_SIZE_LIMIT", "1Gi", False),
            ("RECORDINGS_SPOOL", "/", False),
        ):
            with self.subTest(f"{name}={value}"):

                def change(container, entry={"name": name, "value": value}):
                    container["env"] = [it for it in container["env"] if it["name"] != entry["name"]] + [entry]

                (answer,) = found("sidecar", (None, changed(pod, change)), settings=AS_GOLDEN)
                self.assertEqual(not answer, is_admitted, answer)


class IdentityTest(unittest.TestCase):
    def test_no_annotation_of_ours_can_be_changed_on_a_running_pod(self):
        before = golden("recorder")
        before["metadata"]["annotations"] |= {"example.com/note": "a"}
        resources = [f"sidecar-{of}-{part}" for of in ("cpu", "memory", "ephemeral-storage") for part in ("request", "limit")]
        for name in ("destination", "spool-volume", "spool-path", "credentials", "sidecar-log-level", *resources):
            with self.subTest(name):
                after = copy.deepcopy(before)
                after["metadata"]["annotations"][f"recordings.revenue.io/{name}"] = "x"
                noted = copy.deepcopy(before)
                noted["metadata"]["annotations"]["example.com/note"] = "b"
                refused, admitted = found("identity", (before, after), (before, noted))
                self.assertEqual((len(refused), admitted), (1, []))
                self.assertIn(f"recordings.revenue.io/{name} cannot be changed", refused[0])
