"""Clicks through the page in a real browser and prints what it saw as JSON. Run by test_page, with Playwright on the path.

    python3 browser.py CHROMIUM PAGE EXTERNAL_ID DIRECTORY-FOR-PICTURES
"""

import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM, PAGE, EXTERNAL_ID, PICTURES = sys.argv[1:]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def main():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        seen = {"clicks": clicks(browser), "looks": looks(browser)}
        browser.close()
    print(json.dumps(seen))


def clicks(browser):
    context = browser.new_context(viewport=WIDE, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(Path(PAGE).as_uri())

    def copied(figure):
        page.evaluate("navigator.clipboard.writeText('')")
        button = figure.locator("button.copy")
        button.click()
        figure.locator("button.copy.done").wait_for()  # not wait_for_function, which the page's own policy forbids
        return {"text": page.evaluate("navigator.clipboard.readText()"), "says": button.text_content()}

    for summary in page.locator("summary").all():
        summary.click(position={"x": 20, "y": 10})
    figures = page.locator("figure").all()
    blank = [{"shown": figure.locator("code").text_content(), **copied(figure)} for figure in figures]

    field = page.locator("#value")
    field.fill(EXTERNAL_ID)
    filled = [copied(figure)["text"] for figure in figures]
    kind = field.get_attribute("type")
    words = page.locator("body").inner_text()
    field.fill("two words")
    wrong = {"advice": page.locator("#advice").inner_text(), "texts": [copied(figure)["text"] for figure in figures]}
    made = []
    for _ in range(2):
        page.locator("#make").click()
        page.locator("#take").click()
        page.locator("#take.done").wait_for()
        made.append(page.evaluate("navigator.clipboard.readText()"))
    page.locator("#show").click()
    shown = field.get_attribute("type")

    files = {}
    for button in page.locator("button.save").all():
        with page.expect_download() as download:
            button.click()
        files[download.value.suggested_filename] = Path(download.value.path()).read_text()

    page.reload()
    page.locator("main a", has_text="setup.sh").first.click()
    opened = page.locator("details[open]").get_attribute("id")
    context.close()
    return {
        "requests": requests, "complaints": complaints, "blank": blank, "filled": filled, "type": kind, "words": words,
        "wrong": wrong, "made": made, "typeWhenShown": shown, "files": files, "opened": opened,
    }  # fmt: skip


def looks(browser):
    """Takes screenshots for people to look at, and returns whether anything is cut off."""
    overflows = {}
    for name, viewport, scheme in (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light")):
        page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
        page.goto(Path(PAGE).as_uri())
        overflows[name] = page.evaluate(OVERFLOWS)
        page.screenshot(path=f"{PICTURES}/guide-{name}.png", full_page=True)
    page.locator("#value").fill(EXTERNAL_ID)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    overflows["print"] = page.evaluate(
        f"{OVERFLOWS} || [...document.querySelectorAll('pre')].some(each => each.scrollWidth > each.clientWidth)"
    )
    visible = "[...document.querySelectorAll('button, input, nav, details')].filter(each => each.checkVisibility()).length"
    controls = page.evaluate(visible)
    page.pdf(path=f"{PICTURES}/guide.pdf", format="A4")
    return {"overflows": overflows, "controlsInPrint": controls}


main()
