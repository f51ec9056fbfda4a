"""The page for browsers, as files that the service gives away."""

import re

import httpx

from kev.service.web.files import web_files
from tests.service.api.serving import Server

_NAMED = re.compile(r'(?:from "\./|href="/page/|src="/page/)([a-z0-9.-]+)"')


def test_every_file_of_the_page_is_needed_and_all_that_is_needed_is_there() -> None:
    files = web_files()
    needed, new = set[str](), {"index.html"}
    while new:
        needed |= new
        new = {found for name in new for found in _NAMED.findall(files[name].data.decode())} - needed
    assert needed == files.keys()


def test_the_page_loads_nothing_from_elsewhere_and_has_no_scripts_in_its_document() -> None:
    files = web_files()
    for name, file in files.items():
        text = file.data.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|wss?://(?!\$)|@import", text.replace('"https:"', "").replace('"wss:"', "")), name
    assert not re.search(rb"<script(?! type=\"module\" src=)|<style| style=| on\w+=", files["index.html"].data)


def test_each_file_has_its_type_and_may_do_what_the_page_needs(server: Server) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as anyone:
        for name, media_type in (("main.js", "text/javascript"), ("base.css", "text/css"), ("icon.svg", "image/svg+xml")):
            answer = anyone.get(f"/page/{name}")
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
            assert answer.headers["x-content-type-options"] == "nosniff"
        page = anyone.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert "unsafe" not in page.headers["content-security-policy"]


def test_a_file_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    first = server.client.get("/page/main.js")
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = server.client.get("/page/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert server.client.get("/page/main.js", headers={"if-none-match": '"other"'}).content == first.content
    head = server.client.head("/page/main.js")
    assert (head.content, head.headers["etag"]) == (b"", etag)


def test_only_files_of_the_page_are_given_away(server: Server) -> None:
    for name in ("none.js", "files.py", "%2e%2e%2ffiles.py", "..%2f__init__.py", "%2fetc%2fpasswd", "main.js%00", ""):
        assert server.client.get(f"/page/{name}").status_code == 404
    assert server.client.post("/page/main.js").status_code == 405
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as anyone:
        assert anyone.get("/page/files.py").status_code == 401
