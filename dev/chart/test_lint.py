"""Linters accept the chart under every value that changes what is rendered."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from .. import chart, packages, tools
from ..paths import IN_CI, ROOT
from . import NAME, readme, schemas

MONITORED = ("--set=monitoring.prometheusOperator=true", "--set=monitoring.dashboard=true")
DIGEST = "--set=image.digest=sha256:" + "0" * 64
IDENTITY = (
    "--set=platform.credentials=workloadIdentity",
    "--set=platform.principalARN=arn:aws:iam::103850359708:role/recording-operator",
    r"--set=serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::103850359708:role/recording-operator",
)
VALUES = {
    "as it is": (),
    "monitored": MONITORED,
    "certificates by cert-manager": ("--set=certificates=certManager",),
    "a role's credentials": IDENTITY,
    "rights in two namespaces": ("--set=rbac.secrets=namespaced", "--set=rbac.namespaces={tenant-a,tenant-b}"),
    "everything that components can be given": (
        "--set=rbac.aggregateClusterRoles=false",
        "--set=crds.keep=false",
        "--set=monitoring.runbookURL=https://wiki.example/operations",
        *(
            f"--set-json={it}="
            '{"extraArgs": ["--a"], "extraEnv": [{"name": "A", "value": "b"}], "podLabels": {"a": "b"}, "deploymentAnnotations": {"a": "b"},'
            '"volumes": [{"name": "a", "emptyDir": {}}], "volumeMounts": [{"name": "a", "mountPath": "/a"}]}'
            for it in ("controller", "webhook", "broker")
        ),
    ),
    "everything that pods can be given": (
        DIGEST,
        "--set=imagePullSecrets[0].name=registry",
        "--set=commonLabels.team=recordings",
        "--set=podAnnotations.a=b",
        "--set=priorityClassName=system-cluster-critical",
        "--set=nodeSelector.disk=ssd",
        '--set-json=tolerations=[{"key": "a", "operator": "Exists"}]',
        '--set-json=affinity={"nodeAffinity": {}}',
    ),
}
# The findings of kube-score that are accepted: on which components, and why.
ALL = {"controller", "webhook", "broker"}
ACCEPTED = {
    "container-image-pull-policy": (ALL, "a version or a digest names one content"),
    "container-resources": (ALL, "a CPU limit throttles pods on an idle node; CPU has requests, memory has both"),
    "container-ephemeral-storage-request-and-limit": (ALL, "the root file system is read-only, and nothing is written"),
    "deployment-has-host-podantiaffinity": ({"webhook", "broker"}, "topology spread constraints do this"),
    "networkpolicy-targets-pod": ({"test"}, "the pod of helm test, which --skip-tests leaves out"),
    "deployment-replicas": ({"controller"}, "one replica by design: uploads do not depend on it"),
    "deployment-strategy": ({"controller"}, "the writer of statuses must end before the next one starts"),
}


def run(*argv, given=None):
    return subprocess.run([str(it) for it in argv], input=given, capture_output=True, text=True)


def lint_tool(name):
    def build(directory):
        packages_ = ["github.com/yannh/kubeconform/cmd/kubeconform", "github.com/zegl/kube-score/cmd/kube-score"]
        tools.go_build("chartlint", directory, "-s -w", packages_)

    return tools.cached("chartlint", [tools.go_sources("chartlint"), tools.output("go", "version")], build) / name


class LintTest(unittest.TestCase):
    def test_helm_lint_finds_nothing(self):
        for name, settings in VALUES.items():
            with self.subTest(name):
                linted = chart.helm("lint", "--strict", *settings)
                self.assertEqual(linted.returncode, 0, linted.stdout + linted.stderr)

    def test_each_object_matches_its_schema_and_an_unknown_field_does_not(self):
        for name, settings in VALUES.items():
            with self.subTest(name):
                rendered = chart.helm("template", *settings).stdout
                judged = self.conform(rendered)
                self.assertEqual(judged.returncode, 0, judged.stdout + judged.stderr)
                self.assertIn("Skipped: 0", judged.stdout)
        misspelt = rendered.replace("replicas: 2", "replica: 2", 1)
        self.assertNotEqual(misspelt, rendered)
        self.assertNotEqual(self.conform(misspelt).returncode, 0)

    def conform(self, rendered):
        location = f"{schemas.directory()}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
        return run(lint_tool("kubeconform"), "-strict", "-summary", "-schema-location", location, "-", given=rendered)

    def test_kube_score_finds_only_what_is_accepted_with_a_reason(self):
        accepted = {test: components for test, (components, _) in ACCEPTED.items()}
        for name, settings in VALUES.items():
            with self.subTest(name):
                rendered = chart.helm("template", "--skip-tests", *settings).stdout
                judged = run(lint_tool("kube-score"), "score", "--output-format=json", "-", given=rendered)
                found = {}
                for scored in json.loads(judged.stdout):
                    for check in scored["checks"]:
                        if not check["skipped"] and check["grade"] < 10:
                            component = scored["object_name"].rpartition("-")[2]
                            found.setdefault(check["check"]["id"], set()).add(component)
                # Some are only found where a Service also selects the controller.
                expected = accepted if name == "monitored" else {test: accepted[test] for test in found.keys() & accepted.keys()}
                self.assertEqual(found, expected)


class AlertsTest(unittest.TestCase):
    """Needs promtool, which comes with Debian's package of Prometheus."""

    def setUp(self):
        self.promtool = packages.prometheus("promtool")
        if not self.promtool:
            self.assertFalse(IN_CI, "where all tests must run there has to be an apt")
            self.skipTest("no promtool, and no apt to unpack it from")

    def test_the_alerts_are_valid_and_fire_when_they_should(self):
        for argv in (("check", "rules", "--lint-fatal", chart.ALERTS), ("test", "rules", ROOT / "tests/alerts.yaml")):
            done = run(self.promtool, *argv)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_changed_rule_fails_the_unit_tests_of_the_alerts(self):
        with tempfile.TemporaryDirectory() as directory:
            rules = Path(directory) / "alerts.yaml"
            rules.write_text(chart.ALERTS.read_text().replace("> 900", "> 90000"))
            tests = (ROOT / "tests/alerts.yaml").read_text()
            (Path(directory) / "test.yaml").write_text(tests.replace("../charts/recording-operator/files/", ""))
            self.assertNotEqual(run(self.promtool, "test", "rules", Path(directory) / "test.yaml").returncode, 0)

    def test_each_alert_has_a_unit_test_and_a_runbook(self):
        names = [line.split()[-1] for line in chart.ALERTS.read_text().splitlines() if "- alert: " in line]
        self.assertGreater(len(names), 7)
        tests, runbooks = (ROOT / "tests/alerts.yaml").read_text(), (ROOT / "docs/operations.md").read_text()
        for name in names:
            self.assertIn(f'"{name}"', tests.replace(f"alertname: {name}", f'"{name}"'))
            self.assertIn(f"\n### {name}\n", runbooks)

    def test_the_chart_hands_the_same_rules_to_the_prometheus_operator(self):
        rule = chart.render(*MONITORED)["PrometheusRule", NAME]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(rule["spec"], file)
            file.flush()
            done = run(self.promtool, "check", "rules", "--lint-fatal", file.name)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(rule["spec"]["groups"][0]["rules"]), chart.ALERTS.read_text().count("expr:"))


class ReadmeTest(unittest.TestCase):
    def test_the_charts_readme_is_what_its_values_say(self):
        self.assertEqual(readme.README.read_text(), readme.render(), "run `make generate`")

    def test_each_value_has_a_comment_and_one_without_is_noticed(self):
        values = (readme.CHART / "values.yaml").read_text()
        self.assertEqual(list(readme.undocumented(readme.parse(values))), [])
        bare = values + "\nnaked: 1\n"
        self.assertEqual(list(readme.undocumented(readme.parse(bare))), ["naked"])
