"""report.html in headless Chromium, opened as a file with the network cut."""

import dataclasses
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.reproduction.findings import judge_share
from fmnist_jax.runner import report_page
from fmnist_jax.runner.experiment import Experiment
from tests.figures.test_interactive import EVIL, grid, map_of_two
from tests.reproduction.test_cards import SEEDS
from tests.reproduction.test_cards import text as claims_text
from tests.runner.test_report_page import CURVES, ESCAPED, MAP, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)
# The settings of which a page shows the curves.
DRAWN = """() => sources().filter(s => s.tags[0] === "seeds"
  && Array.from(s.data.y).some(Number.isFinite)).map(s => s.data.setting[0])"""
RESCALED = dataclasses.replace(
    CURVES, curves_by="side", axes={"side": {}}, rescaled={"÷1 as ÷255": "÷255"}
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright")
    with playwright.sync_playwright() as started:
        options: dict[str, Any] = {"executable_path": CHROMIUM}
        options["args"] = ARGUMENTS.split()
        browser = started.chromium.launch(**options)
        yield browser
        browser.close()


class Opened:
    """A page that was opened offline, its requests and its messages."""

    def __init__(
        self, browser: Any, path: Path, after: str = "", **options: Any
    ) -> None:
        settings = {"viewport": {"width": 1200, "height": 1000}, **options}
        context = browser.new_context(offline=True, accept_downloads=True, **settings)
        self.page = context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", self._request)
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.goto(f"{path.as_uri()}{after}")
        self.page.wait_for_function(
            "!document.querySelector('script') || document.body.dataset.ready"
        )

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _request(self, request: Any) -> None:
        if request.url.partition(":")[0] not in ("file", "data", "blob"):
            self.problems.append(request.url)

    def move_to(self, figure: str, x: float, y: float) -> None:
        """Moves the mouse to a position in the coordinates of a figure."""
        at = self.page.evaluate(
            """([name, x, y]) => {
              const view = views.find(one => one.model.name === name);
              const frame = view.frame, box = view.el.getBoundingClientRect();
              view.el.scrollIntoView({ block: "center" });
              const now = view.el.getBoundingClientRect();
              const { x_scale, y_scale } = frame;
              return [now.x + x_scale.compute(x), now.y + y_scale.compute(y)];
            }""",
            [figure, x, y],
        )
        self.page.mouse.move(at[0] - 3, at[1] - 3)
        self.page.mouse.move(*at)
        self.page.wait_for_timeout(200)

    def tooltip(self) -> str:
        """Returns the text of the tooltips that are shown."""
        text: str = self.page.evaluate(
            """() => [...document.querySelectorAll(".bk-Tooltip")]
              .map(one => one.shadowRoot.textContent).join(" ")"""
        )
        return text


@pytest.fixture(scope="module")
def curves_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("curves"), CURVES)


@pytest.fixture(scope="module")
def map_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("map"), MAP)


@pytest.fixture(scope="module")
def claims_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("claims") / "report.html"
    path.write_text(claims_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an experiment without axes."""
    folder = tmp_path_factory.mktemp("data")
    write(folder, CURVES)
    (path,) = report_page.write(folder, Experiment("x", "Q?", None))
    return path


LOOKS: list[dict[str, Any]] = [
    {},
    {"color_scheme": "dark"},
    {"viewport": {"width": 390, "height": 844}},
]


PATHS = ["curves_path", "map_path", "claims_path", "data_path"]


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "phone"])
@pytest.mark.parametrize("experiment", PATHS)
def test_pages_open_without_requests_or_errors(
    browser: Any, experiment: str, look: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    opened = Opened(browser, request.getfixturevalue(experiment), **look)
    assert opened.problems == []
    width = opened.page.evaluate("document.documentElement.scrollWidth")
    assert width <= opened.page.viewport_size["width"]
    if experiment != "claims_path":
        assert opened.page.locator(".banner").is_visible()


def test_curves_show_on_hover_what_was_measured(
    browser: Any, curves_path: Path
) -> None:
    opened, results = Opened(browser, curves_path), grid()
    value = float(results.test_accuracy[1, 1, 2, 1])
    opened.move_to("curves-linear", 2, value)
    text = opened.tooltip()
    assert f"{value:.6f}" in text
    assert f"÷255, {EVIL}" in text  # as text
    assert "trained" in text
    assert opened.problems == []


def test_switches_and_the_slider_choose_what_is_drawn(
    browser: Any, curves_path: Path
) -> None:
    opened, results = Opened(browser, curves_path), grid()
    for name, value in (("quantity", "loss"), ("split", "train"), ("scale", "log")):
        opened.page.check(f"input[name={name}][value={value}]")
    opened.page.fill("input[name=epoch]", "2")
    drawn = """name => [...sources()].filter(s => s.tags[0] === "seeds").map(s =>
      Array.from(s.data[name]).filter(Number.isFinite))"""
    runs = np.array(opened.page.evaluate(drawn, "y")).reshape(2, 2, 3, 4)
    np.testing.assert_allclose(runs, results.train_loss, rtol=1e-6)
    final = np.array(opened.page.evaluate(drawn, "final")).reshape(2, 2, 3)
    np.testing.assert_allclose(final, results.train_loss[..., 1], rtol=1e-6)
    assert not opened.page.locator("#part-0").is_visible()
    assert opened.page.locator("#part-1").is_visible()
    assert not opened.page.locator("#part-2").is_visible()
    assert opened.page.locator("#part-3").is_visible()  # final values on a log axis
    opened.page.check("input[name=runs][value=bands]")
    assert opened.page.evaluate(drawn, "y") == [[]] * 4
    assert (
        opened.page.evaluate("models['final-log'].left[0].axis_label")
        == "training loss"
    )
    again = Opened(browser, curves_path, opened.page.evaluate("location.hash"))
    assert again.page.evaluate("stateOf()") == opened.page.evaluate("stateOf()")
    assert again.page.is_checked("input[name=quantity][value=loss]")
    assert opened.problems == again.problems == []


def test_the_loss_is_clipped_by_a_switch(browser: Any, tmp_path: Path) -> None:
    results = grid(("clipped", "softmax"))
    path = write(tmp_path, CURVES, dataset=results)
    opened = Opened(browser, path)
    assert len(opened.page.evaluate(DRAWN)) == 4
    opened.page.check("input[name=clip][value=on]")
    assert opened.page.evaluate(DRAWN) == ["÷1, clipped", "÷255, clipped"]
    opened.page.check("input[name=clip][value=off]")
    assert opened.page.evaluate(DRAWN) == ["÷1, softmax", "÷255, softmax"]
    assert opened.problems == []


def test_the_first_layer_is_rescaled_by_a_switch(browser: Any, tmp_path: Path) -> None:
    sides = grid(("÷1", "÷255", "÷1 as ÷255")).isel(divisor=0, drop=True)
    path = write(tmp_path, RESCALED, dataset=sides.rename(loss="side"))
    opened = Opened(browser, path)
    opened.page.check("input[name=rescale][value=on]")
    assert opened.page.evaluate(DRAWN) == ["÷255", "÷1 as ÷255"]
    opened.page.check("input[name=rescale][value=off]")
    assert opened.page.evaluate(DRAWN) == ["÷1", "÷255"]
    assert opened.problems == []


def test_a_page_without_axes_has_text_and_settings(
    browser: Any, data_path: Path
) -> None:
    opened = Opened(browser, data_path)
    assert opened.page.locator(".bk-Figure").count() == 0
    assert opened.page.locator(".banner").is_visible()
    assert EVIL in opened.page.text_content("body")
    settings = opened.page.locator("details:has(dl)")
    assert not settings.locator("dl").is_visible()
    settings.locator("summary").click()
    assert settings.locator("dl").is_visible()
    assert opened.problems == []


def test_the_loss_of_maps_is_clipped_by_a_switch(browser: Any, tmp_path: Path) -> None:
    results = map_of_two().assign_coords(loss=["clipped", "softmax"])
    opened = Opened(browser, write(tmp_path, MAP, dataset=results))
    assert opened.page.locator("input[name=maps]").count() == 0  # the same choice
    for choice, shown in (("clipped", [True, False]), ("softmax", [False, True])):
        opened.page.check(f"input[name=clip][value={choice}]")
        panels = [opened.page.locator(f"#part-{number}") for number in range(2)]
        assert [panel.is_visible() for panel in panels] == shown
    assert opened.problems == []


THE_BAR = "models['map-0'].below.find(model => model.type === 'ColorBar')"
BAR = f"""[{THE_BAR}.title, {THE_BAR}.major_label_overrides.get(0),
  {THE_BAR}.major_label_overrides.get(1)]"""


def test_the_colours_of_a_map_end_where_the_data_end(
    browser: Any, map_path: Path
) -> None:
    opened, results = Opened(browser, map_path), map_of_two()
    means = results.test_accuracy.isel(epoch=-1).mean("seed")
    ends = [f"{100 * float(end):.1f} %" for end in (means.min(), means.max())]
    assert opened.page.evaluate(BAR) == ["test accuracy", *ends]
    scale = opened.page.evaluate("DATA.scale.map(rgba)")
    image = np.array(opened.page.evaluate("Array.from(points(0).image[0])"))
    first = means.isel(loss=0).transpose("learning_rate", "divisor")
    shares = (first - means.min()) / (means.max() - means.min())
    place = np.array([scale.index(colour) for colour in image])
    np.testing.assert_allclose(place, 63 * shares.values.ravel(), atol=0.51)
    opened.page.check("input[name=colour][value=loss]")
    losses = results.train_loss.isel(epoch=-1, loss=0).median("seed")
    losses = losses.transpose("learning_rate", "divisor").values.ravel()
    image = np.array(opened.page.evaluate("Array.from(points(0).image[0])"))
    place = np.array([scale.index(colour) for colour in image])
    order = np.argsort(losses)
    assert (np.diff(place[order]) <= 0).all()  # small losses have dark colours
    title, *ends = opened.page.evaluate(BAR)
    assert title == "training loss, nats (log scale)"
    every, uniform = results.train_loss.isel(epoch=-1), np.log(10)
    assert ends[0].endswith(" and more")
    values = [float(end.removesuffix(" and more")) for end in ends]
    np.testing.assert_allclose(
        values, [10 * uniform, min(uniform / 2, every.min())], rtol=0.01
    )
    opened.page.check("input[name=colour][value=status]")
    assert not opened.page.evaluate(f"{THE_BAR}.visible")
    assert opened.problems == []


def test_the_map_shows_a_point_and_its_curve(browser: Any, map_path: Path) -> None:
    opened, results = Opened(browser, map_path), map_of_two()
    assert "Kept" not in opened.page.text_content("#readout")
    opened.move_to("map-1", 10.0, 0.1)
    point = results.isel(loss=1).sel(divisor=10.0, learning_rate=0.1)
    accuracy = 100 * float(point.test_accuracy[:, -1].mean())
    text = opened.page.text_content("#readout")
    assert f"test accuracy {accuracy:.2f} %" in text
    assert f"training loss {float(point.train_loss[:, -1].median()):.3g} nats" in text
    assert "2/λ is 0.1; the learning rate is 1 times that" in text
    assert "by seed: trained, trained, trained" in text
    assert "--divisors=10 --learning_rates=0.1" in text
    tooltip = opened.tooltip()
    for row in ("pixel divisor:10", "learning rate:0.1", f"accuracy:{accuracy:.2f} %"):
        assert row in tooltip.replace(" :", ":").replace(": ", ":"), tooltip
    row = opened.page.evaluate("Array.from(byTag('row', 1).data.y)")
    expected = results.test_accuracy[:, 2, 1, :, -1].mean("seed")
    np.testing.assert_allclose(row, expected, atol=1e-4)
    opened.page.mouse.down()
    opened.page.mouse.up()
    opened.page.wait_for_timeout(500)
    curve = opened.page.evaluate("Array.from(byTag('curve', 1).data.y)")
    np.testing.assert_allclose(curve, point.test_accuracy.mean("seed"), atol=1e-4)
    opened.move_to("map-1", 1.0, 1.0)
    assert "Kept until" in opened.page.text_content("#readout")
    assert f"test accuracy {accuracy:.2f} %" in opened.page.text_content("#readout")
    opened.page.mouse.down()
    opened.page.mouse.up()  # the point is not kept any more
    opened.page.wait_for_timeout(500)
    assert EVIL in opened.page.text_content("#readout")  # why it failed, as text
    assert opened.problems == []


def test_sliders_recolour_and_move_lines(browser: Any, map_path: Path) -> None:
    opened, results = Opened(browser, map_path), map_of_two()
    opened.page.check("input[name=colour][value=trains]")
    for threshold in (0.2, 0.7):
        opened.page.fill("input[name=criterion]", str(threshold))
        green = opened.page.evaluate(
            "Array.from(points(0).image[0]).map(c => c === GREEN)"
        )
        runs = results.isel(loss=0)
        counted = (runs.final_train_accuracy >= threshold) & (runs.status != "dead")
        most = counted.mean("seed").transpose("learning_rate", "divisor") > 0.5
        assert green == most.values.ravel().tolist()
    opened.page.fill("input[name=multiple]", "6")
    line = opened.page.evaluate("Array.from(byTag('stable', 0).data.y)")
    np.testing.assert_allclose(line, [0.06, 0.6, 6])
    items = "models['map-0'].below.find(model => model.type === 'Legend').items"
    assert opened.page.evaluate(f"{items}[0].label.value") == "6 × 2/λ"
    opened.page.check("input[name=maps][value='1']")
    assert not opened.page.locator("#part-0").is_visible()
    assert opened.page.locator("#part-1").is_visible()
    assert opened.problems == []


def test_maps_zoom_together(browser: Any, map_path: Path) -> None:
    opened = Opened(browser, map_path)
    ends = "[views[1].model.x_range.start, views[1].model.x_range.end]"
    before = opened.page.evaluate(ends)
    opened.page.evaluate(
        "models['map-0'].toolbar.active_scroll = models['map-0'].toolbar.tools.find("
        "tool => tool.type === 'WheelZoomTool')"
    )
    opened.move_to("map-0", 10.0, 0.1)
    opened.page.mouse.wheel(0, -300)
    opened.page.wait_for_timeout(300)
    after = opened.page.evaluate(ends)
    assert after[1] / after[0] < before[1] / before[0]
    assert opened.problems == []


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_figures_download(
    browser: Any, map_path: Path, tmp_path: Path, ending: str
) -> None:
    opened = Opened(browser, map_path)
    with opened.page.expect_download() as download:
        opened.page.click(f"#part-0 button[data-type={ending}]")
    assert download.value.suggested_filename == f"map-0.{ending}"
    download.value.save_as(tmp_path / "figure")
    content = (tmp_path / "figure").read_bytes()
    assert ending == "png" or ESCAPED.encode() in content  # the title
    assert (b"<svg" in content[:500]) if ending == "svg" else content[1:4] == b"PNG"
    if ending == "png":
        width, height = struct.unpack(">II", content[16:24])
        assert width == pytest.approx(1800, abs=2)
        assert 0.5 < height / width < 2
    assert opened.problems == []


def test_the_table_downloads(browser: Any, curves_path: Path, tmp_path: Path) -> None:
    opened = Opened(browser, curves_path)
    with opened.page.expect_download() as download:
        opened.page.click("text=Download as CSV")
    download.value.save_as(tmp_path / "table")
    summary = curves_path.with_name("summary.csv")
    assert (tmp_path / "table").read_bytes() == summary.read_bytes()
    assert os.path.getsize(curves_path) < 2e6


def test_thresholds_of_claims_move_and_claims_are_filtered(
    browser: Any, claims_path: Path, tmp_path: Path
) -> None:
    opened = Opened(browser, claims_path)
    low, high = judge_share(SEEDS).bounds
    badge = opened.page.locator("#claim-shuffle .result").first
    for threshold, verdict in (
        (low - 1e-4, "supported"),
        ((low + high) / 2, "no difference detected"),
        (high + 1e-4, "contradicted"),
    ):
        opened.page.fill("input[name='claim-shuffle.0']", f"{threshold:.6g}")
        assert badge.text_content() == verdict
    again = Opened(browser, claims_path, opened.page.evaluate("location.hash"))
    first = again.page.locator("#claim-shuffle .result").first
    assert first.text_content() == "contradicted"
    for ending, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with opened.page.expect_download() as download:
            opened.page.click(f"#claim-shuffle button[data-type={ending}] >> nth=0")
        download.value.save_as(tmp_path / ending)
        assert (tmp_path / ending).read_bytes().startswith(start)
    opened.page.check("input[name=verdict][value=contradicted]")
    assert not opened.page.locator("#claim-shuffle").is_visible()
    assert opened.page.locator("#claim-symmetric").is_visible()
    assert opened.problems == again.problems == []
