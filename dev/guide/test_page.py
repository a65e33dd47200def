"""The page in a real browser: what its buttons copy, what it shows, and how it prints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from .. import packages
from ..paths import LOGS
from . import GOLDEN, snippets
from .support import EXTERNAL_ID, is_long

_HERE = Path(__file__).resolve().parent
_BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
_PLACEHOLDER = "<your External ID>"


@is_long
class PageTest(unittest.TestCase):
    seen: dict[str, Any]

    @classmethod
    def setUpClass(cls) -> None:
        browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
        assert browser, "this needs Chromium: apt-get install chromium-headless-shell"
        LOGS.mkdir(parents=True, exist_ok=True)
        library = packages.python("guide-browser", _HERE / "browser.txt")
        argv = [sys.executable, _HERE / "browser.py", browser, GOLDEN / "plain" / "guide.html", EXTERNAL_ID, LOGS]
        environment = {"PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(LOGS)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        cls.seen = json.loads(done.stdout)
        cls.clicks = cls.seen["clicks"]

    def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(self):
        page = (GOLDEN / "plain" / "guide.html").as_uri()
        others = {request for request in self.clicks["requests"] if request != page and not request.startswith("blob:")}
        self.assertEqual((others, self.clicks["complaints"]), (set(), []))

    def test_each_button_copies_what_is_shown_beside_it(self):
        markdown = [text.rstrip("\n") for _, text in snippets(GOLDEN / "plain" / "guide.md").values()]
        self.assertEqual([each["shown"] for each in self.clicks["blank"]][: len(markdown)], markdown)
        for each in self.clicks["blank"]:
            self.assertEqual(each["text"], each["shown"])
            has_placeholder = _PLACEHOLDER in each["shown"]
            self.assertEqual(each["says"], "Copied, with the placeholder" if has_placeholder else "Copied")

    def test_copies_have_the_external_id_that_was_filled_in_and_the_page_shows_it_nowhere(self):
        shown = [each["shown"].replace(_PLACEHOLDER, EXTERNAL_ID) for each in self.clicks["blank"]]
        self.assertEqual(self.clicks["filled"], shown)
        self.assertIn(f'"sts:ExternalId": "{EXTERNAL_ID}"', "".join(self.clicks["filled"]))
        self.assertNotIn(EXTERNAL_ID, self.clicks["words"])
        self.assertEqual((self.clicks["type"], self.clicks["typeWhenShown"]), ("password", "text"))

    def test_what_aws_would_refuse_is_said_and_not_filled_in(self):
        self.assertIn("AWS takes 2 to 1224 characters", self.clicks["wrong"]["advice"])
        self.assertEqual(self.clicks["wrong"]["texts"], [each["shown"] for each in self.clicks["blank"]])

    def test_an_external_id_that_is_made_is_new_each_time(self):
        first, second = self.clicks["made"]
        self.assertRegex(first, "^[0-9a-f]{32}$")
        self.assertNotEqual(first, second)

    def test_files_are_saved_as_they_are_and_a_link_opens_its_file(self):
        files = ("setup.sh", "cloudformation.yaml", "main.tf")
        self.assertEqual(self.clicks["files"], {name: (GOLDEN / "plain" / name).read_text() for name in files})
        self.assertEqual(self.clicks["opened"], "setup.sh")

    def test_nothing_is_cut_off_on_screen_on_a_phone_and_on_paper_where_no_button_is(self):
        self.assertEqual(self.seen["looks"]["overflows"], dict.fromkeys(("light", "dark", "phone", "print"), False))
        self.assertEqual(self.seen["looks"]["controlsInPrint"], 0)
