"""A report's picture is one well-formed SVG that shows each key, and hides nothing that it leaves out."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from federation.core import costpicture, metering
from tests import records


def drawn(count: int, by: str = "dataset") -> tuple[str, ET.Element]:
    """The picture of a report with so many datasets."""
    entries = [records.entry(n, dataset=f"d{n:03}", charge_micros=n * 10**6, avoided_micros=10**6) for n in range(1, count + 1)]
    sums = metering.summarize(entries, by)
    text = costpicture.svg(sums, metering.total(entries), by)
    return text, ET.fromstring(text)


def test_each_key_has_a_bar_of_what_was_charged_and_saved():
    """The dearest first."""
    text, root = drawn(3)
    bars = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert bars == ["charged $3.00", "saved $1.00", "charged $2.00", "saved $1.00", "charged $1.00", "saved $1.00"]
    assert "$6.00 charged" in text
    assert "locality saved $3.00" in text


def test_what_is_left_out_is_counted():
    """Thirty are drawn."""
    text, _ = drawn(35)
    assert "and 5 more" in text


def test_an_empty_report_is_a_picture_too():
    """And names in it cannot break it."""
    ET.fromstring(costpicture.svg((), metering.total([]), "link", title='<"&'))
