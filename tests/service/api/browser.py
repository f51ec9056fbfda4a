"""Chromium, and what somebody does in it."""

import os
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright

from tests.service.api.serving import PATIENCE

CHROMIUM = "/usr/bin/chromium"
_OPTIONS = ("disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")
_OF_THE_NETWORK = ("Failed to load resource: ", "WebSocket connection to ")
"""What the browser itself says of requests that were refused, and of connections that broke."""


def launched(playwright: Playwright) -> Browser:
    """With a profile of its own, which is removed at the end."""
    words = [*_OPTIONS, *(["no-sandbox"] if os.geteuid() == 0 else [])]
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{word}" for word in words])


class Visitor:
    """Somebody who looks at the page, in a browser that nobody else uses."""

    def __init__(self, browser: Browser, port: int) -> None:
        context = browser.new_context(reduced_motion="reduce")
        context.set_default_timeout(PATIENCE * 1000)
        self.address = f"http://127.0.0.1:{port}/"
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        """What went wrong in the scripts of the page."""
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_OF_THE_NETWORK):
            self.faults.append(message.text)

    def be_logged_in(self, token: str) -> None:
        if not self.page.url.startswith(self.address):
            self.page.goto(f"{self.address}?token={token}")
        self.go_to("machines")
        self.find("[data-connection=live]").wait_for()

    def go_to(self, part: str) -> None:
        self.page.goto(f"{self.address}#/{part}")

    def find(self, selector: str, has_text: str | None = None) -> Locator:
        return self.page.locator(selector, has_text=has_text)

    def press(self, button: str) -> None:
        """The first button that is called so."""
        self.page.get_by_role("button", name=button).first.click()

    def open_form(self) -> None:
        self.press("Start a guest")

    def start(self, image: str, **fields: str) -> None:
        """By the form, without a mouse."""
        self.open_form()
        for name, value in {**fields, "image": image}.items():
            self.find(f"dialog [name={name}]").fill(value)
        self.page.keyboard.press("Enter")

    def sees(self, script: str) -> Any:
        """What an expression of JavaScript comes to in the page."""
        return self.page.evaluate(script)
