"""Linters find nothing in the templates, policies and scripts, and find a planted mistake."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from .. import packages
from . import customers, documents

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def _tool(program: str, *arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    path = packages.python("guide-linters", _REQUIREMENTS)
    environment = {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", "AWS_DEFAULT_REGION": "us-east-1"}
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(argv, env=environment, input=given, capture_output=True, text=True)


class TemplateTest(unittest.TestCase):
    LINT = "import sys; from cfnlint.runner.cli import main; sys.exit(main())"

    def test_cfn_lint_finds_nothing_in_the_templates(self):
        templates = [directory / "cloudformation.yaml" for directory in customers()]
        with tempfile.TemporaryDirectory() as directory:
            wrong = Path(directory) / "wrong.yaml"
            text = templates[0].read_text()
            wrong.write_text(text.replace("ObjectOwnership: BucketOwnerPreferred", "ObjectOwnership: Mine"))
            found = _tool(self.LINT, wrong)
            self.assertNotEqual(found.returncode, 0)
            self.assertIn("'Mine' is not one of", found.stdout)
        found = _tool(self.LINT, *templates)
        self.assertEqual((found.returncode, found.stdout), (0, ""), found.stderr)


class PolicyTest(unittest.TestCase):
    LINT = """
import json, sys, parliament
findings = {}
for name, text in json.load(sys.stdin).items():
    analyzed = parliament.analyze_policy_string(text)
    findings[name] = sorted(f"{each.issue}: {each.detail}" for each in analyzed.findings)
print(json.dumps(findings))
"""
    # parliament reads policies of identities: a trust policy, which names no resource, is given one, and the time is filled in.
    RESOURCE = {"Resource": "arn:aws:iam::111111111111:role/writer"}

    def findings(self, policies: dict[str, str]) -> dict[str, list[str]]:
        done = _tool(self.LINT, given=json.dumps(policies))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def as_identity(self, policy: str) -> str:
        parsed = json.loads(policy.replace("<now>", "2026-01-01T00:00:00Z"))
        for statement in parsed["Statement"]:
            if statement["Action"] == "sts:AssumeRole":
                statement |= self.RESOURCE
        return json.dumps(parsed)

    def test_parliament_finds_nothing_in_the_policies(self):
        policies = {}
        for directory in customers():
            held = documents(directory / "setup.sh")
            held.pop("LIFECYCLE_RULES")
            policies |= {f"{directory.name} {name}": self.as_identity(text) for name, text in held.items()}
        self.assertGreater(len(policies), 12)
        expected = {name: [] for name in policies}
        # In the policy of a key, * is that key.
        expected["kms KEY_POLICY"] = ["RESOURCE_STAR: ['kms:Decrypt', 'kms:GenerateDataKey']"]
        self.assertEqual(self.findings(policies), expected)

    def test_it_would_find_an_action_and_a_condition_that_do_not_exist(self):
        trust = self.as_identity(documents(customers()[0] / "setup.sh")["TRUST"])
        wrong = {"condition": trust.replace("sts:ExternalId", "sts:ExternalID2"), "action": trust.replace("AssumeRole", "AssumeRolle")}
        found = self.findings(wrong)
        self.assertIn("UNKNOWN_CONDITION", str(found["condition"]))
        self.assertIn("UNKNOWN_ACTION", str(found["action"]))


class TerraformTest(unittest.TestCase):
    """As far as its grammar; what the provider says of it needs the provider."""

    PARSE = "import json, sys, hcl2; print(json.dumps(hcl2.loads(sys.stdin.read())))"

    def test_the_configurations_are_hcl(self):
        for directory in customers():
            text = (directory / "main.tf").read_text()
            parsed = _tool(self.PARSE, given=text)
            self.assertEqual(parsed.returncode, 0, parsed.stderr)
            kinds = [next(iter(resource)).strip('"') for resource in json.loads(parsed.stdout)["resource"]]
            self.assertEqual(kinds[0], "aws_s3_bucket")
            self.assertIn("aws_iam_role_policy", kinds)
        self.assertNotEqual(_tool(self.PARSE, given=text.replace("jsonencode(", "jsonencode", 1)).returncode, 0)


class ScriptTest(unittest.TestCase):
    def test_bash_reads_the_scripts(self):
        for directory in customers():
            script = directory / "setup.sh"
            self.assertEqual(subprocess.run(["bash", "-n", script]).returncode, 0, script)
