"""Puts the page together: figures as HTML, pictures by a script from data in the page."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from kev.observe.html_report.runs import percentile, service_times
from kev.observe.html_report.view import view
from kev.version import __version__


def page(reports: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    """One HTML document with style, script and data inside; it asks no server for anything."""
    views = [view(report, label) for report, label in zip(reports, labels, strict=True)]
    return _TEMPLATE.format(
        title=escape(", ".join(dict.fromkeys(report["image"] for report in reports))),
        style=_resource("style.css"),
        figures="".join(_figures(report, label) for report, label in zip(reports, labels, strict=True)),
        tiles=_tiles(reports[0]) if len(reports) == 1 else "",
        exits="".join(_exits(report, label) for report, label in zip(reports, labels, strict=True)),
        version=escape(__version__),
        data=_data(views),
        script=_resource("script.js"),
    )


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title} - kev report</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">kev report</p>
<h1>{title}</h1>
</header>
<main>
{tiles}<section>
<h2>Figures</h2>
<div class="scroll"><table class="figures">
<thead><tr><th>run</th><th>paging</th><th>ended</th><th>first instruction</th><th>first output</th><th>end</th>
<th>pages loaded</th><th>pages of the image</th><th>violations</th><th>waits</th><th>median service</th><th>99th percentile</th>
</tr></thead>
<tbody>
{figures}</tbody></table></div>
</section>
<section>
<h2>Phases</h2>
<p class="note">From the launch on, all runs on one scale. A phase bears the name of what ends it.</p>
<figure id="phases"></figure>
</section>
<div id="details"></div>
<section>
<h2>Exits</h2>
<dl class="exits">
{exits}</dl>
</section>
</main>
<footer>kev {version}</footer>
<div id="tip" role="status" hidden></div>
<noscript><p class="note">The pictures are drawn by a script in this page.</p></noscript>
<script type="application/json" id="data">{data}</script>
<script>
{script}</script>
</body>
</html>
"""


def _figures(report: dict[str, Any], label: str) -> str:
    phases, services = report["phases"], service_times(report)
    loaded, image = report["pages_loaded"], report["image_pages"]
    cells = [
        _milliseconds(phases.get("first instruction")),
        _milliseconds(phases.get("first output")),
        _milliseconds(phases["end"]),
        f"{loaded:,}",
        f"{image:,}",
        f"{report['violations']:,}",
        f"{report['page_waits']:,}",
        _microseconds(percentile(services, 0.5)),
        _microseconds(percentile(services, 0.99)),
    ]
    numbers = "".join(f"<td class=number>{cell}</td>" for cell in cells)
    return f"<tr><th>{escape(label)}</th><td class=paging>{_paging(report)}</td><td>{_ending(report)}</td>{numbers}</tr>\n"


def _paging(report: dict[str, Any]) -> str:
    """The policy, and what it has to say about the run."""
    remarks = ", ".join(f"{value:,} {name}" for name, value in report["paging"].items() if name != "policy")
    return escape(str(report["paging"]["policy"]) + (f" ({remarks})" if remarks else ""))


def _ending(report: dict[str, Any]) -> str:
    ending = report["ending"]
    text = f"code {report['exit_code']}" if ending["kind"] == "exited" else str(ending["kind"])
    return f'<span title="{escape(ending["message"], quote=True)}">{escape(text)}</span>'


def _tiles(report: dict[str, Any]) -> str:
    """What stands out of a single run."""
    services = service_times(report)
    tiles = [
        ("first output", _milliseconds(report["phases"].get("first output")), "from the launch"),
        ("pages loaded", f"{report['pages_loaded']:,}", f"the image has {report['image_pages']:,}, RAM {report['ram_pages']:,}"),
        ("violations", f"{report['violations']:,}", f"{report['page_waits']:,} waited for a page"),
        ("median service", _microseconds(percentile(services, 0.5)), f"99 % within {_microseconds(percentile(services, 0.99))}"),
    ]
    return '<section class="tiles">' + "".join(_tile(*tile) for tile in tiles) + "</section>\n"


def _tile(name: str, value: str, remark: str) -> str:
    return f'<div class="tile"><p class="name">{escape(name)}</p><p class="value">{value}</p><p class="remark">{remark}</p></div>'


def _exits(report: dict[str, Any], label: str) -> str:
    counts = sorted(report["exits"].items(), key=lambda item: -item[1])
    items = "".join(f"<span><b>{count:,}</b> {escape(name)}</span>" for name, count in counts)
    return f"<dt>{escape(label)}</dt><dd>{items}</dd>\n"


def _milliseconds(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:,.2f}&nbsp;ms" if value < 100 else f"{value:,.0f}&nbsp;ms"


def _microseconds(value: float | None) -> str:
    if value is None:
        return "&ndash;"
    return f"{value:,.1f}&nbsp;µs" if value < 1000 else _milliseconds(value / 1e3)


def _data(views: Iterator[Any] | Sequence[Any]) -> str:
    """JSON that no string in it can end: names come from the guest's file."""
    return json.dumps(views, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
