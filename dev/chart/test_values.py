"""What the values for people's own clusters and roles change in what the chart renders."""

import json
import unittest

from . import NAME, helm, render
from .test_lint import MONITORED

COMPONENTS = ("controller", "webhook", "broker")


def deployment(objects, component):
    return objects["Deployment", f"{NAME}-{component}"]


class RolesTest(unittest.TestCase):
    def test_view_and_edit_read_destinations_and_admin_writes_them_but_no_status(self):
        objects = render()
        reads, writes = ["get", "list", "watch"], ["create", "update", "patch", "delete", "deletecollection"]
        for name, verbs, roles in (("view", reads, {"view", "edit", "admin"}), ("admin", writes, {"admin"})):
            role = objects["ClusterRole", f"{NAME}-{name}"]
            rule = {"apiGroups": ["recordings.revenue.io"], "resources": ["recordingdestinations"], "verbs": verbs}
            self.assertEqual(role["rules"], [rule])
            labels = (it.rpartition("/aggregate-to-") for it in role["metadata"]["labels"])
            self.assertEqual({role for _, found, role in labels if found}, roles)
        without = render("--set=rbac.aggregateClusterRoles=false")
        self.assertFalse({("ClusterRole", f"{NAME}-view"), ("ClusterRole", f"{NAME}-admin")} & without.keys())


class ServiceAccountsTest(unittest.TestCase):
    def test_each_component_has_the_account_that_the_values_name_and_policies_know_it(self):
        names = {it: f"own-{it}" for it in COMPONENTS}
        settings = [f"--set={it}.serviceAccount.name={name}" for it, name in names.items()]
        objects = render(*settings, "--set=broker.serviceAccount.create=false", "--set=controller.serviceAccount.annotations.a=b")
        made = {name for kind, name in objects if kind == "ServiceAccount"}
        self.assertEqual(made, {"own-controller", "own-webhook"})
        self.assertEqual(objects["ServiceAccount", "own-controller"]["metadata"]["annotations"], {"a": "b"})
        for component, name in names.items():
            self.assertEqual(deployment(objects, component)["spec"]["template"]["spec"]["serviceAccountName"], name)
            (subject,) = objects["ClusterRoleBinding", f"{NAME}-{component}"]["subjects"]
            self.assertEqual(subject["name"], name)
        text = json.dumps([it for (kind, _), it in objects.items() if kind.startswith(("ValidatingAdmission", "Role"))])
        for component in ("controller", "broker"):
            self.assertIn(f"system:serviceaccount:{NAME}:own-{component}", text)
            self.assertNotIn(f"system:serviceaccount:{NAME}:{NAME}-{component}", text)
        for binding in ("controller-webhook", "controller-certificates"):
            self.assertEqual(objects["RoleBinding", f"{NAME}-{binding}"]["subjects"][0]["name"], "own-controller")

    def test_two_components_with_one_account_are_refused(self):
        for settings in (
            ("--set=broker.serviceAccount.name=one", "--set=webhook.serviceAccount.name=one"),
            (f"--set=broker.serviceAccount.name={NAME}-controller",),
        ):
            refused = helm("template", *settings)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("have the ServiceAccount", refused.stderr)

    def test_annotations_for_both_that_call_aws_are_still_read(self):
        objects = render("--set=serviceAccount.annotations.a=old", "--set=broker.serviceAccount.annotations.a=new")
        found = {it: objects["ServiceAccount", f"{NAME}-{it}"]["metadata"].get("annotations") for it in COMPONENTS}
        self.assertEqual(found, {"controller": {"a": "old"}, "webhook": None, "broker": {"a": "new"}})


class PodsTest(unittest.TestCase):
    def test_each_component_gets_what_its_values_add_and_no_other_does(self):
        spread = [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
        for component in COMPONENTS:
            added = {
                "extraArgs": ["--extra"],
                "extraEnv": [{"name": "A", "value": "b"}],
                "volumes": [{"name": "extra", "emptyDir": {}}],
                "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                "podLabels": {"team": "calls", "app.kubernetes.io/component": "hidden"},
                "deploymentAnnotations": {"reloader": "true"},
            }
            if component != "controller":
                added["topologySpreadConstraints"] = spread
            objects, usual = render(f"--set-json={component}={json.dumps(added)}"), render()
            for other in COMPONENTS:
                whole = deployment(objects, other)
                if other != component:
                    self.assertEqual(whole, deployment(usual, other))
                    continue
                pod = whole["spec"]["template"]["spec"]
                container = pod["containers"][0]
                self.assertEqual(container["args"][-1], "--extra")
                self.assertEqual([it["name"] for it in container["env"]], ["RUST_LOG", "A"])
                self.assertEqual((pod["volumes"][-1]["name"], container["volumeMounts"][-1]["name"]), ("extra", "extra"))
                self.assertEqual(whole["metadata"]["annotations"], {"reloader": "true"})
                labels = whole["spec"]["template"]["metadata"]["labels"]
                self.assertEqual(labels, whole["spec"]["selector"]["matchLabels"] | {"team": "calls"})
                if component != "controller":
                    self.assertEqual(pod["topologySpreadConstraints"], spread)

    def test_former_replica_sets_are_kept_as_the_value_says(self):
        for settings, expected in (((), 10), (("--set=revisionHistoryLimit=2",), 2)):
            found = {deployment(render(*settings), it)["spec"]["revisionHistoryLimit"] for it in COMPONENTS}
            self.assertEqual(found, {expected})


class NamesTest(unittest.TestCase):
    def test_names_labels_and_the_brokers_url_follow_the_overrides(self):
        for settings, name, full in (
            ((), NAME, NAME),
            (("--set=nameOverride=calls",), "calls", f"{NAME}-calls"),
            (("--set=fullnameOverride=recorder",), NAME, "recorder"),
            (("--set=nameOverride=calls", "--set=fullnameOverride=recorder"), "calls", "recorder"),
        ):
            objects = render(*settings, *MONITORED)
            for component in COMPONENTS:
                spec = objects["Deployment", f"{full}-{component}"]["spec"]
                self.assertEqual(spec["selector"]["matchLabels"]["app.kubernetes.io/name"], name)
                labels = spec["template"]["metadata"]["labels"]
                self.assertLessEqual(spec["selector"]["matchLabels"].items(), labels.items())
            monitor = objects["ServiceMonitor", full]["spec"]["selector"]["matchLabels"]
            self.assertLessEqual(monitor.items(), objects["Service", f"{full}-metrics"]["metadata"]["labels"].items())
            url = f"https://{full}-broker.{NAME}.svc:8443"
            webhook = objects["Deployment", f"{full}-webhook"]["spec"]["template"]["spec"]["containers"][0]
            self.assertIn(f"--broker-url={url}", webhook["args"])
            policy = objects["ValidatingAdmissionPolicy", f"{full}-sidecar"]["spec"]["validations"]
            self.assertTrue(any(url in it["expression"] for it in policy))


class OthersTest(unittest.TestCase):
    def test_the_definition_is_kept_on_uninstall_unless_the_value_says_otherwise(self):
        for settings, expected in (((), "keep"), (("--set=crds.keep=false",), None)):
            ((_, definition),) = (it for it in render(*settings).items() if it[0][0] == "CustomResourceDefinition")
            self.assertEqual(definition["metadata"].get("annotations", {}).get("helm.sh/resource-policy"), expected)

    def test_each_alert_links_to_its_own_runbook_where_the_value_says_where_they_are(self):
        url = "https://wiki.example/operations"
        for settings, is_linked in (((), False), ((f"--set=monitoring.runbookURL={url}",), True)):
            rules = render(*MONITORED, *settings)["PrometheusRule", NAME]["spec"]["groups"][0]["rules"]
            for rule in (it for it in rules if "alert" in it):
                expected = f"{url}#{rule['alert'].lower()}" if is_linked else None
                self.assertEqual(rule["annotations"].get("runbook_url"), expected)

    def test_nobody_calls_the_pod_of_helm_test(self):
        objects = render()
        policy, pod = objects["NetworkPolicy", f"{NAME}-test"]["spec"], objects["Pod", f"{NAME}-answers"]
        self.assertLessEqual(policy["podSelector"]["matchLabels"].items(), pod["metadata"]["labels"].items())
        self.assertEqual((policy["ingress"], policy["egress"]), ([], [{}]))
