"""The commands of the guide do what it says of them."""

from __future__ import annotations

from . import snippets
from .support import GuideTest


class WordsTest(GuideTest):
    def test_the_commands_of_the_guide_in_its_order(self):
        commands = {title: text for title, (language, text) in snippets(self.home / "guide.md").items() if language == "sh"}

        def run(title: str) -> str:
            done = self.shell(commands.pop(title), EXTERNAL_ID="an-id-of-the-customer")
            self.assertOk(done)
            return done.out

        self.assertIn("done ", run("Look, then set up"))
        self.assertEqual({line.split()[0] for line in run("Check with the script").splitlines()}, {"ok"})
        trusted = run("Whom the role trusts")
        self.assertIn("arn:aws:iam::103850359708:user/RingDNA_Web", trusted)
        self.assertIn("sts:ExternalId", trusted)
        allowed = [line.split() for line in run("What the role may do").splitlines()]
        actions = ["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject", "s3:DeleteObject"]
        self.assertEqual(allowed, [[action, "allowed"] for action in actions])
        self.assertEqual(run("Who owns what is uploaded"), "BucketOwnerPreferred\n")

        run("Keep what is overwritten")
        session = self.session_of("an-id-of-the-customer")
        for _ in range(2):
            self.assertAnswer(self.put(session, "calls/1.wav"), 200)
        versions = self.customer.list_versions(self.bucket)
        self.assertEqual(len(versions), 2, "the overwritten recording is kept")
        run("No new sessions")
        self.assertAnswer(self.assume("an-id-of-the-customer"), 403, "AccessDenied")
        self.assertAnswer(self.put(session, "calls/2.wav"), 200)
        self.shell("sleep 1.1")  # Times of issue are whole seconds.
        run("Cut running sessions")
        self.assertAnswer(self.put(session, "calls/3.wav"), 403, "AccessDenied")
        run("End it with the script")
        # One makes an External ID, one is tried in test_stack, one needs Terraform's provider.
        self.assertEqual(set(commands), {"A new External ID", "Deploy the stack", "Apply the configuration"})
