"""What the chart renders for its values; nothing is installed."""

import json
import re
import unittest

from . import NAME, helm, render

CERT_MANAGER = ("--set=certificates=certManager",)
OWN_ISSUER = (*CERT_MANAGER, "--set=certManager.issuerRef.name=internal", "--set=certManager.issuerRef.kind=ClusterIssuer")


def named(objects, *kinds):
    return sorted(f"{kind}/{name.removeprefix(NAME)}" for kind, name in objects if kind in kinds)


class CertificatesTest(unittest.TestCase):
    def test_helm_lint_accepts_each_mode_of_certificates(self):
        for settings in ((), CERT_MANAGER, OWN_ISSUER):
            linted = helm("lint", "--strict", *settings)
            self.assertEqual(linted.returncode, 0, linted.stdout + linted.stderr)

    def test_with_cert_manager_the_controller_has_no_right_to_certificates(self):
        ours = ["Role/-controller-certificates", "RoleBinding/-controller-certificates"]
        always = ["Role/-controller-webhook", "RoleBinding/-controller-webhook"]
        leaves = ["Certificate/-broker", "Certificate/-webhook"]
        authority = ["Certificate/-ca", "Issuer/", "Issuer/-ca"]
        for settings, expected in (((), ours), (CERT_MANAGER, leaves + authority), (OWN_ISSUER, leaves)):
            objects = render(*settings)
            self.assertEqual(named(objects, "Certificate", "Issuer", "Role", "RoleBinding"), sorted(expected + always))
            kept = not settings
            controller = objects["Deployment", f"{NAME}-controller"]["spec"]["template"]["spec"]["containers"][0]
            flags = [it for it in controller["args"] if it.startswith(("--certificates-", "--webhook-s", "--broker-s", "--mutating-"))]
            self.assertEqual(len(flags), 4 if kept else 0, flags)
            annotations = objects["MutatingWebhookConfiguration", NAME]["metadata"].get("annotations")
            injected = {"cert-manager.io/inject-ca-from": f"{NAME}/{NAME}-webhook"}
            self.assertEqual(annotations, None if kept else injected)

    def test_cert_managers_certificates_fill_the_mounted_secrets(self):
        for settings, issuer in (
            (CERT_MANAGER, {"kind": "Issuer", "name": NAME}),
            (OWN_ISSUER, {"kind": "ClusterIssuer", "name": "internal"}),
        ):
            objects = render(*settings)
            for component in ("webhook", "broker"):
                name = f"{NAME}-{component}"
                spec = objects["Certificate", name]["spec"]
                self.assertEqual(spec["issuerRef"], issuer)
                self.assertIn(f"{name}.{NAME}.svc", spec["dnsNames"])
                self.assertIn(spec["secretName"], mounted(objects, name))
                self.assertEqual(spec["privateKey"]["size"], 384, "or cert-manager would keep the controller's certificate")
        authority = render(*CERT_MANAGER)["Certificate", f"{NAME}-ca"]["spec"]
        self.assertTrue(authority["isCA"])
        self.assertEqual(authority["privateKey"]["rotationPolicy"], "Never")

    def test_the_webhook_mounts_the_brokers_ca(self):
        for settings in ((), CERT_MANAGER):
            secrets = mounted(render(*settings), f"{NAME}-webhook")
            self.assertEqual(secrets, {f"{NAME}-webhook-tls": ["tls.crt", "tls.key"], f"{NAME}-broker-tls": ["ca.crt"]})

    def test_an_unknown_mode_and_an_unused_issuer_are_refused(self):
        for settings, why in (
            (("--set=certificates=vault",), "'selfManaged', 'certManager'"),
            (("--set=certManager.issuerRef.name=internal",), "/certManager/issuerRef"),
            ((*CERT_MANAGER, "--set=certManager.issuerRef.kind=ClusterIssuer"), "'name' required"),
        ):
            refused = helm("template", *settings)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(why, refused.stderr)


class PrincipalTest(unittest.TestCase):
    def test_without_a_principal_the_last_sentence_says_what_to_set(self):
        for credentials in ("secret", "workloadIdentity"):
            refused = helm("template", "--set=platform.principalARN=", f"--set=platform.credentials={credentials}")
            self.assertNotEqual(refused.returncode, 0)
            # What follows is of helm template alone; helm install ends with the sentence.
            said = refused.stderr.split("\n\nUse --debug flag")[0].splitlines()[-1]
            self.assertIn("set platform.principalARN to the ARN", said)
        role = "arn:aws:iam::111111111111:role/recordings"
        for settings, arn in (((), "arn:aws:iam::111111111111:user/recordings"), (("--set=platform.credentials=workloadIdentity",), role)):
            objects = render(*settings, f"--set=platform.principalARN={arn}")
            controller = objects["Deployment", f"{NAME}-controller"]["spec"]["template"]["spec"]["containers"][0]
            self.assertIn(f"--platform-principal-arn={arn}", controller["args"])


class WebhookPathTest(unittest.TestCase):
    def test_no_manifest_names_the_path_and_the_controller_may_write_it_in_each_mode(self):
        for settings in ((), CERT_MANAGER):
            objects = render(*settings)
            (webhook,) = objects["MutatingWebhookConfiguration", NAME]["webhooks"]
            self.assertEqual(webhook["clientConfig"]["service"], {"name": f"{NAME}-webhook", "namespace": NAME, "port": 8443})
            for account, verbs in (("controller", ["get", "patch"]), ("webhook", ["get", "list", "watch"])):
                rules = objects["ClusterRole", f"{NAME}-{account}"]["rules"]
                (rule,) = (it for it in rules if "mutatingwebhookconfigurations" in it["resources"])
                self.assertEqual((rule["resourceNames"], rule["verbs"]), ([NAME], verbs))
            controller = objects["Deployment", f"{NAME}-controller"]["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual(len([it for it in controller["args"] if it.startswith("--webhook-path-")]), 3)
            webhook = objects["Deployment", f"{NAME}-webhook"]["spec"]["template"]["spec"]["containers"][0]
            self.assertIn(f"--webhook-configuration={NAME}", webhook["args"])


class ProbesTest(unittest.TestCase):
    def test_probes_run_within_the_container_on_a_socket_that_it_can_write(self):
        for component in ("controller", "webhook", "broker"):
            pod = render()["Deployment", f"{NAME}-{component}"]["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            for probe, asked in (("livenessProbe", "alive"), ("readinessProbe", "ready")):
                self.assertEqual(container[probe]["exec"]["command"], ["/recording-operator", "probe", asked])
                self.assertNotIn("httpGet", container[probe])
            (argument,) = (it for it in container["args"] if it.startswith("--probe-socket="))
            (mount,) = (it for it in container["volumeMounts"] if it["name"] == "run")
            self.assertEqual(argument, f"--probe-socket={mount['mountPath']}/probe.sock")
            self.assertIn("emptyDir", next(it for it in pod["volumes"] if it["name"] == "run"))


class NetworkPoliciesTest(unittest.TestCase):
    def test_each_component_admits_its_callers_and_may_call_anyone(self):
        objects = render()
        ports = {"controller": ["metrics"], "webhook": ["metrics", "https"], "broker": ["metrics", "https"]}
        for component, expected in ports.items():
            name = f"{NAME}-{component}"
            spec = objects["NetworkPolicy", name]["spec"]
            template = objects["Deployment", name]["spec"]["template"]
            self.assertEqual(spec["podSelector"]["matchLabels"], template["metadata"]["labels"])
            self.assertEqual([it["ports"][0]["port"] for it in spec["ingress"]], expected)
            self.assertEqual(sorted(expected), sorted(it["name"] for it in template["spec"]["containers"][0]["ports"]))
            self.assertEqual(spec["egress"], [{}])
        self.assertEqual(named(render("--set=networkPolicy.enabled=false"), "NetworkPolicy"), [])

    def test_metrics_are_reachable_from_the_named_peers_only(self):
        monitoring = '--set-json=networkPolicy.metricsFrom=[{"namespaceSelector": {"matchLabels": {"a": "b"}}}]'
        for settings, expected in (((), None), ((monitoring,), [{"namespaceSelector": {"matchLabels": {"a": "b"}}}])):
            metrics = render(*settings)["NetworkPolicy", f"{NAME}-controller"]["spec"]["ingress"][0]
            self.assertEqual(metrics.get("from"), expected)


    def test_of_a_tenants_pod_only_the_uploaders_metrics_are_kept(self):
        endpoint = render("--set=monitoring.prometheusOperator=true")["PodMonitor", f"{NAME}-uploaders"]["spec"]
        self.assertLessEqual(endpoint["sampleLimit"], 1000)
        [keep] = endpoint["podMetricsEndpoints"][0]["metricRelabelings"]
        for name, is_kept in (("recording_uploader_pending_files", True), ("recording_operator_build_info", False)):
            self.assertEqual(bool(re.fullmatch(keep["regex"], name)), is_kept, name)


class AvailabilityTest(unittest.TestCase):
    def test_pods_behind_a_service_serve_before_the_old_ones_go_and_after_they_are_told_to_end(self):
        leave_and_drain = 5 + 20  # src/serve/https.rs
        for component in ("webhook", "broker"):
            spec = render()["Deployment", f"{NAME}-{component}"]["spec"]
            self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1})
            self.assertGreaterEqual(spec["minReadySeconds"], 5)
            pod = spec["template"]["spec"]
            pre_stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            self.assertGreaterEqual(pre_stop, 10)
            self.assertGreater(pod["terminationGracePeriodSeconds"], pre_stop + leave_and_drain)


class BindingGroupsTest(unittest.TestCase):
    def test_the_policy_and_its_message_name_the_groups_whatever_they_are_called(self):
        for groups, named in ((["system:masters"], "system:masters"), (["a", "o'brien's \"team\""], "a, o'brien's \"team\""), ([], "no group")):
            listed = json.dumps(groups, separators=(",", ":"))
            objects = render(f"--set-json=tenancy.bindingGroups={json.dumps(groups)}")
            (rule,) = objects["ValidatingAdmissionPolicy", f"{NAME}-account-binding"]["spec"]["validations"]
            self.assertIn(f"|| {listed}.exists(", rule["expression"])
            self.assertIn(f"only members of {named} (", rule["message"])


class DestinationsTest(unittest.TestCase):
    def test_the_limit_of_a_namespace_reaches_controller_and_broker_and_none_below_one_is_taken(self):
        for settings, expected in (((), 500), (("--set=destinations.maxPerNamespace=20",), 20)):
            objects = render(*settings)
            for component in ("controller", "broker"):
                pod = objects["Deployment", f"{NAME}-{component}"]["spec"]["template"]["spec"]
                self.assertIn(f"--destinations-per-namespace={expected}", pod["containers"][0]["args"])
        refused = helm("template", "--set=destinations.maxPerNamespace=0")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("/destinations/maxPerNamespace", refused.stderr)

    def test_the_policy_has_a_rule_for_each_part_of_metadata_that_has_no_bound(self):
        rules = render()["ValidatingAdmissionPolicy", f"{NAME}-destination-metadata"]["spec"]["validations"]
        fields = [rule["message"].split()[0] for rule in rules]
        entries = [f"metadata.{field}" for field in ("labels", "annotations", "finalizers", "ownerReferences")]
        self.assertEqual(fields, [*entries, "metadata.annotations"])


class ConditionalWritesTest(unittest.TestCase):
    def test_conditional_writes_reach_the_two_that_assume_roles_and_only_a_boolean_is_taken(self):
        flag = "--require-conditional-writes"
        for settings, expected in (((), ()), (("--set=aws.requireConditionalWrites=true",), ("broker", "controller"))):
            objects, told = render(*settings), []
            for component in ("broker", "controller", "webhook"):
                pod = objects["Deployment", f"{NAME}-{component}"]["spec"]["template"]["spec"]
                told += [component] if flag in pod["containers"][0]["args"] else []
            self.assertEqual(tuple(told), expected)
        refused = helm("template", "--set-string=aws.requireConditionalWrites=yes")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("/aws/requireConditionalWrites", refused.stderr)


class BandwidthTest(unittest.TestCase):
    def test_a_bandwidth_limit_reaches_the_webhook_and_one_too_low_is_refused(self):
        for settings, expected in (((), []), (("--set=uploader.bandwidthLimit=10485760",), ["--uploader-bandwidth-limit=10485760"])):
            webhook = render(*settings)["Deployment", f"{NAME}-webhook"]["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual([it for it in webhook["args"] if "bandwidth" in it], expected)
        refused = helm("template", "--set=uploader.bandwidthLimit=1000000")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("/uploader/bandwidthLimit", refused.stderr)


class SidecarSettingsTest(unittest.TestCase):
    def arguments(self, *settings):
        container = render(*settings)["Deployment", f"{NAME}-webhook"]["spec"]["template"]["spec"]["containers"][0]
        return dict(it.removeprefix("--").split("=", 1) for it in container["args"] if it.startswith("--"))

    def test_what_each_sidecar_is_given_reaches_the_webhook(self):
        usual = self.arguments()
        self.assertEqual((usual["uploader-image-pull-policy"], usual["uploader-log-level"]), ("IfNotPresent", "info"))
        resources = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}}
        self.assertEqual(json.loads(usual["uploader-resources"]), resources)
        own = self.arguments(
            "--set=image.pullPolicy=Always",
            "--set=uploader.imagePullPolicy=Never",
            "--set=uploader.logLevel=warn",
            "--set=uploader.resources.limits.cpu=1",
            "--set=uploader.resourceBounds.max.cpu=2",
            "--set=uploader.resourceBounds.min=null",
        )
        self.assertEqual((own["uploader-image-pull-policy"], own["uploader-log-level"]), ("Never", "warn"))
        resources["limits"]["cpu"] = "1"
        self.assertEqual(json.loads(own["uploader-resources"]), resources)
        bounds = {"max": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "4Gi"}}
        self.assertEqual(json.loads(own["uploader-resource-bounds"]), bounds)
        self.assertEqual(self.arguments("--set=image.pullPolicy=Always")["uploader-image-pull-policy"], "Always")

    def test_what_is_no_level_policy_or_amount_is_refused(self):
        for setting, names in (
            ("uploader.logLevel=trace", "/uploader/logLevel"),
            ("uploader.imagePullPolicy=Sometimes", "/uploader/imagePullPolicy"),
            ("uploader.resources.limits.cpu=much", "/uploader/resources/limits/cpu"),
            ("uploader.resources.limits.gpu=1", "/uploader/resources/limits"),
            ("uploader.resourceBounds.least.cpu=1", "/uploader/resourceBounds"),
        ):
            refused = helm("template", f"--set={setting}")
            self.assertNotEqual(refused.returncode, 0, setting)
            self.assertIn(names, refused.stderr)


def mounted(objects, deployment):
    """Keys by Secret of a Deployment's volume `tls`; None for all."""
    volumes = objects["Deployment", deployment]["spec"]["template"]["spec"]["volumes"]
    (tls,) = (it for it in volumes if it["name"] == "tls")
    if "secret" in tls:
        return {tls["secret"]["secretName"]: None}
    sources = (source["secret"] for source in tls["projected"]["sources"])
    return {it["name"]: [item["key"] for item in it["items"]] for it in sources}
