"""The CloudFormation template makes what the script makes."""

from __future__ import annotations

from . import snippets
from .support import EXTERNAL_ID, Done, GuideTest, is_long


class StackTest(GuideTest):
    def deploy(self, *parameters: str) -> Done:
        """As the guide does, which asks for the External ID."""
        _, command = snippets(self.home / "guide.md")["Deploy the stack"]
        more = "".join(f', "{parameter}"' for parameter in parameters)
        return self.shell(command.replace('EXTERNAL_ID"]', f'EXTERNAL_ID"{more}]'), given=f"{EXTERNAL_ID}\n")

    def test_a_stack_in_a_new_account_lets_the_platform_deliver_and_the_script_finds_nothing_to_change(self):
        self.assertOk(self.deploy("OnlyThisRole=true"))
        self.assertDelivers()
        looked = self.script("--dry-run", "--only-this-role")
        self.assertOk(looked)
        self.assertEqual(looked.first_words, {"ok"}, looked.out)
        shown = self.shell("aws cloudformation describe-stacks --stack-name call-recordings")
        self.assertIn(self.customer.role_arn(), shown.out)
        self.assertNotIn(EXTERNAL_ID, shown.out)

        self.assertOk(self.shell("aws cloudformation delete-stack --stack-name call-recordings"))
        self.assertAnswer(self.assume(), 403, "AccessDenied")
        self.assertIn("calls/1.wav", self.customer.list_objects(self.bucket))

    @is_long
    def test_a_bucket_that_is_there_is_left_alone(self):
        self.customer.create_bucket(self.bucket)
        refused = self.deploy()
        self.assertNotEqual(refused.code, 0)
        self.assertOk(self.shell("aws cloudformation delete-stack --stack-name call-recordings"))
        self.assertOk(self.deploy("CreateBucket=false"))
        self.assertDelivers()
