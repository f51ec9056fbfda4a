"""The page in a browser: Chromium, as Debian has it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

pytest.importorskip("playwright", reason="playwright is not installed: pip install 'kev-hypervisor[test]'")

from playwright.sync_api import expect, sync_playwright

from tests.service.api.browser import CHROMIUM, Visitor, launched
from tests.service.api.relay import Relay
from tests.service.api.serving import PATIENCE, Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.access(CHROMIUM, os.X_OK), reason=f"{CHROMIUM} is not there: apt-get install chromium"),
]
_CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
_TERMINAL = """async () => {
    const { TerminalScreen } = await import("/page/terminal-screen.js");
    const { EscapeSequences } = await import("/page/escape-sequences.js");
    const screen = new TerminalScreen();
    const sequences = new EscapeSequences(screen);
    return (pieces) => { pieces.forEach((piece) => sequences.feed(piece)); return screen; };
}"""
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="module")
def relay(server: Server) -> Iterator[Relay]:
    """The way to the service."""
    with Relay(server.port) as made:
        yield made


@pytest.fixture(scope="module")
def page(server: Server, relay: Relay) -> Iterator[Visitor]:
    """One page for all tests, since a browser takes seconds to begin."""
    with sync_playwright() as playwright:
        yield Visitor(launched(playwright), relay.port)


@pytest.fixture
def visitor(page: Visitor, server: Server) -> Iterator[Visitor]:
    """Somebody who has logged in. Nothing goes wrong in the scripts of the page. No machine runs on behind a test."""
    page.be_logged_in(server.token)
    yield page
    server.clear()
    assert page.faults == []


def test_a_guest_is_started_typed_to_and_answers(visitor: Visitor, server: Server) -> None:
    assert server.token not in visitor.page.url
    visitor.start("echo", memory="64M", name="typed-to")
    screen = visitor.find(".screen")
    expect(screen).to_contain_text("echo> ")
    visitor.find(".terminal").click()
    visitor.page.keyboard.type("hello there")
    visitor.page.keyboard.press("Enter")
    expect(screen).to_contain_text("you said: hello there")
    visitor.page.keyboard.insert_text("pästed")
    visitor.page.keyboard.press("Enter")
    expect(screen).to_contain_text("you said: pästed")
    expect(visitor.find(".tiles")).to_contain_text("Violations7")
    visitor.page.keyboard.type("exit 3")
    visitor.page.keyboard.press("Enter")
    expect(visitor.find(".state-line")).to_have_text("endedexit code 3")
    expect(visitor.find(".console-state")).to_have_text("the run has ended")


def test_the_heat_map_fills_when_the_guest_boots(visitor: Visitor, server: Server) -> None:
    machine = server.create("gKeOS", start=False)
    visitor.go_to(f"machines/{machine['id']}")
    heat = visitor.find("canvas.heat")
    expect(heat).to_have_attribute("data-present", "0")
    before = set(visitor.sees(_COLOURS))
    visitor.press(f"Start {machine['name']}")
    expect(heat).to_have_attribute("data-present", "170")
    visitor.page.wait_for_timeout(50)  # for the next picture of the display
    assert len({*visitor.sees(_COLOURS)} - before) >= 4, "code, constants, data and zeros"
    heat.focus()
    visitor.page.keyboard.press("ArrowRight")
    expect(visitor.find(".under")).to_have_text("0x100000 – 0x100fff: .boot (code), present")
    visitor.page.keyboard.press("ArrowRight")
    expect(visitor.find(".under")).to_contain_text("0x101000 – 0x101fff: .page_tables (data)")
    visitor.page.get_by_text("All of RAM").click()
    expect(heat).to_have_attribute("data-cell-pages", re.compile("16|32"))


_COLOURS = """() => {
    const canvas = document.querySelector("canvas.heat");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const counts = new Map();
    for (const pixel of new Uint32Array(data.buffer)) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
    return [...counts].filter(([, count]) => count > 200).map(([pixel]) => pixel);
}"""


def test_what_is_refused_is_said_next_to_its_field(visitor: Visitor, server: Server) -> None:
    visitor.start("echo", memory="2G")
    memory = visitor.find("dialog [name=memory]")
    expect(memory).to_have_attribute("aria-invalid", "true")
    expect(memory).to_be_focused()
    expect(memory).to_have_accessible_description("2G: a machine of this service may have 512M at most")
    memory.fill("64M")
    visitor.find("dialog [name=image]").fill("nothing-of-this-name")
    visitor.page.keyboard.press("Enter")
    expect(visitor.find("dialog [name=image]")).to_have_attribute("aria-invalid", "true")
    expect(memory).not_to_have_attribute("aria-invalid", "true")
    visitor.page.keyboard.press("Escape")
    expect(visitor.find("dialog")).to_have_count(0)


def test_a_connection_that_breaks_is_taken_up_where_it_broke_off(visitor: Visitor, server: Server, relay: Relay) -> None:
    machine = server.create("echo", spec={"memory": "64M"})["id"]
    visitor.go_to(f"machines/{machine}")
    screen = visitor.find(".screen")
    expect(screen).to_have_text("echo> ")
    relay.cut()
    expect(visitor.find(".link-state")).to_have_text("connection lost")
    expect(visitor.find(".console-state")).to_contain_text("trying again")
    server.say(machine, b"while nobody looked\n")
    server.until_printed(machine, b"while nobody looked\necho> ")
    relay.mend()
    expect(visitor.find(".link-state")).to_have_text("live")
    expect(screen).to_have_text("echo> you said: while nobody lookedecho> ")
    relay.cut()
    expect(visitor.find(".console-state")).to_contain_text("trying again")
    end = server.show(machine)["console"]["end"]
    server.say(machine, b"more than is kept\n" * 400)
    while server.show(machine)["console"]["start"] <= end:
        """It is printed soon."""
    relay.mend()
    expect(screen).to_contain_text("bytes before this are not kept any more")
    visitor.find(".terminal").click()
    visitor.page.keyboard.type("back")
    visitor.page.keyboard.press("Enter")
    expect(screen).to_contain_text("you said: back")


def test_policies_are_compared_side_by_side(visitor: Visitor, server: Server) -> None:
    visitor.go_to("policies")
    expect(visitor.find("[name=policy]:checked")).to_have_count(2)
    visitor.find("[name=together]").check()
    visitor.press("Compare")
    expect(visitor.find(".multiple[data-state=done]")).to_have_count(2)
    lazy, eager = visitor.find("tr[data-policy=lazy]"), visitor.find("tr[data-policy=eager]")
    expect(lazy.locator("[data-label='Pages loaded']")).to_have_text("170")
    expect(lazy.locator("[data-label=Violations]")).to_have_text("170")
    expect(eager.locator("[data-label='Pages loaded']")).to_have_text("1,468")
    expect(eager.locator("[data-label=Violations]")).to_have_text("0")
    for row in (lazy, eager):
        expect(row.locator("[data-label='First output']")).to_contain_text("s")
    expect(visitor.page.get_by_role("img", name="1,468 pages within")).to_have_count(1)
    expect(visitor.find(".legend li")).to_have_text(["code", "constants", "data", "zeros", "loading", "absent", "first output"])
    another = visitor.page.get_by_label("Another policy")
    another.fill("around=none")
    visitor.press("Compare")
    expect(another).to_have_attribute("aria-invalid", "true")


def test_a_machine_is_paused_saved_forked_and_goes_on_from_its_snapshot(visitor: Visitor, server: Server) -> None:
    machine = server.create("echo", name="first", spec={"memory": "64M"})["id"]
    server.until_printed(machine, b"echo> ")
    visitor.go_to(f"machines/{machine}")
    state = visitor.find(".state-line")
    visitor.press("Pause first")
    expect(state).to_have_text("paused")
    visitor.press("Snapshot first")
    visitor.page.get_by_label("Name of the snapshot").fill("ready")
    visitor.press("Save")
    expect(visitor.find(".notices")).to_contain_text("ready is saved.")
    visitor.press("Fork first")
    expect(visitor.find("h1")).not_to_have_text("first")
    expect(visitor.find(".facts")).to_contain_text(f"fork-of={machine}")
    visitor.go_to("snapshots")
    visitor.press("Start a machine from ready")
    expect(state).to_have_text("running")
    visitor.find(".terminal").click()
    visitor.page.keyboard.type("again")
    visitor.page.keyboard.press("Enter")
    expect(visitor.find(".screen")).to_contain_text("you said: again")
    visitor.go_to("machines")
    expect(visitor.find("tbody tr", has_text="first")).to_contain_text("paused")


def test_a_race_tells_what_it_has_found(visitor: Visitor) -> None:
    visitor.go_to("jobs")
    visitor.page.get_by_label("Image").fill("hypercalls")
    visitor.page.get_by_label("vCPUs").fill("2")
    visitor.page.get_by_label("Runs at most").fill("2")
    visitor.press("Begin")
    job = visitor.find(".job")
    expect(job).to_have_attribute("data-state", "done")
    expect(job).to_contain_text("Nothing went wrong.")
    expect(job).to_contain_text(re.compile(r"\d+ runs?, "))
    visitor.press("Delete Race of hypercalls")
    expect(job).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1920)])
def test_every_part_is_readable_and_as_wide_as_the_window(
    visitor: Visitor, server: Server, scheme: Literal["light", "dark"], width: int
) -> None:
    machine = server.create("hypercalls", name=f"a-machine-with-quite-a-long-name-that-has-to-be-broken-{scheme}")["id"]
    server.create("spin", spec={"memory": "16M"}, start=False)
    visitor.page.emulate_media(color_scheme=scheme)
    visitor.page.set_viewport_size({"width": width, "height": 800})
    for part in ("machines", f"machines/{machine}", "policies", "jobs", "snapshots"):
        visitor.go_to(part)
        expect(visitor.find("h1")).to_be_visible()
        assert visitor.sees(_CONTRAST) == []
        assert visitor.sees("document.documentElement.scrollWidth") == width
    visitor.go_to("machines")
    visitor.open_form()
    visitor.find("dialog summary").click()
    assert visitor.sees(_CONTRAST) == []
    visitor.page.keyboard.press("Escape")


def test_whoever_is_not_known_is_asked_for_the_token(visitor: Visitor, server: Server) -> None:
    visitor.page.context.clear_cookies()
    visitor.page.goto(visitor.address)
    token = visitor.page.get_by_label("Token")
    expect(token).to_be_focused()
    assert visitor.sees(_CONTRAST) == []
    visitor.page.keyboard.type("not the token")
    visitor.page.keyboard.press("Enter")
    expect(token).to_have_accessible_description("it is not this service's")
    token.fill(server.token)
    visitor.page.keyboard.press("Enter")
    expect(visitor.find(".link-state")).to_have_text("live")


def test_the_terminal_obeys_what_guests_print(visitor: Visitor, server: Server) -> None:
    cases = {
        "one\ntwo\r\nthree": ["one", "two", "three"],
        "12%\r100%": ["100%"],
        "typo\b\bed": ["tyed"],
        "a\tb": ["a       b"],
        "\x1b]0;a title\x07seen": ["seen"],
        "\x1b[2J\x1b[1;1Htop\x1b[3;2Hthird": ["top", "", " third"],
        "abc\x1b[2Dx\x1b[K": ["ax"],
        "\x1b[38;5;196mred\x1b[0m\x1b[?25l\x1b(B!": ["red!"],
        "split \x1b": ["split "],
        "é 你 🙂": ["é 你 🙂"],
    }
    script = f"""async (cases) => Promise.all(cases.map(async (text) => {{
        const feed = await ({_TERMINAL})();
        const screen = feed([...text]);
        return screen.lines.map((line) => Array.from(line.characters, (character) => character ?? " ").join(""));
    }}))"""
    assert visitor.page.evaluate(script, list(cases)) == list(cases.values())
    style = f"""async () => (await ({_TERMINAL})())(["\\x1b[1;31;44mx\\x1b[22my"]).lines[0].styles"""
    assert visitor.page.evaluate(style) == [{"bold": True, "ink": 1, "paper": 4}, {"ink": 1, "paper": 4}]
