"""``docs/metrics.md`` says what the code defines."""

from scripts import metric_docs


def test_the_page_is_what_the_code_generates() -> None:
    expected = metric_docs.render()
    assert metric_docs.PATH.read_text() == expected, "run `make docs`"


def test_every_metric_bears_the_prefix_and_the_unit_of_the_conventions() -> None:
    for name, kind, labels, text in metric_docs.documented():
        assert name.startswith("mcp_"), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert not {"service", "type", "name", "job", "instance"} & set(labels), name
        assert text.endswith("."), name


def test_every_section_of_the_page_has_rows() -> None:
    page = metric_docs.render()
    for title, _ in metric_docs.SECTIONS:
        section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
        assert section.count("| `mcp_") >= 8, title
