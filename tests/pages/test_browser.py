"""The page of psic evaluate in a real browser: no complaints, charts that are there, a slider that moves."""

import pytest

from psic_cli.pages.evaluation import page
from tests.pages.browser import ARROW_RIGHT, browser
from tests.pages.conftest import HOSTILE, QUALITIES, made_results, shown

SLIDER = ".compare input"
CUT = "return getComputedStyle(document.querySelector('.compare .stage')).getPropertyValue('--cut')"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The page of everything, in a window that is opened once: starting a browser takes longer than all tests."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_bytes(page(made_results(), [shown("photo.png", 1), shown(HOSTILE, 2)]))
    with browser(tmp_path_factory.mktemp("browser")) as window:
        window.open(folder / "index.html")
        yield window


@pytest.fixture
def window(loaded):
    """The page as it was first shown, 1280 pixels wide."""
    loaded.pretend("setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    loaded.pretend("setEmulatedMedia", features=[])
    loaded.ask("/refresh")
    return loaded


def test_the_page_loads_without_a_complaint(window):
    assert window.complaints() == []
    assert (
        window.run("return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length")
        == 0
    )
    assert window.run("return document.title") == "psic-base, measured"


def test_pictures_are_shown(window):
    sizes = window.run("return [...document.querySelectorAll('.compare img')].map(i => [i.naturalWidth, i.complete])")
    assert sizes == [[60, True]] * 6


def test_charts_have_marks_that_can_be_seen(window):
    script = """return [...document.querySelectorAll('.chart')].map(chart =>
        [...chart.querySelectorAll('.line:not([hidden]) .mark')].filter(mark => {
            const box = mark.getBoundingClientRect(), frame = chart.getBoundingClientRect();
            return box.width > 2 && box.height > 2 && box.left >= frame.left && box.right <= frame.right;
        }).length)"""
    counts = window.run(script)
    assert counts[0] >= 2 * len(QUALITIES) + 2 * 3
    assert min(counts) >= 2 * len(QUALITIES)


def test_the_slider_moves_under_the_pointer(window):
    assert window.run(CUT) == "50%"
    window.drag(".compare .stage", 0.5, 0.8)
    assert float(window.run(CUT).rstrip("%")) == pytest.approx(80, abs=2)
    line = window.run(
        "return document.querySelector('.divider').offsetLeft / document.querySelector('.stage').clientWidth"
    )
    assert line == pytest.approx(0.8, abs=0.02)


def test_the_slider_moves_with_the_arrow_keys(window):
    window.press(SLIDER, ARROW_RIGHT * 4)
    assert window.run(CUT) == "52%"
    assert (
        window.run("return getComputedStyle(document.querySelector('.stage img.left')).clipPath")
        == "inset(0px 48% 0px 0px)"
    )


def test_other_versions_can_be_chosen(window):
    window.press(".compare select[data-side=left]", "full")
    assert window.run("return document.querySelector('.stage img.left').dataset.version") == "full"
    assert window.run("return document.querySelector('.stage img.right').dataset.version") == "protected"


def test_the_legend_switches_lines_on(window):
    hidden = "return document.querySelector('.line[data-series=\"BPG 4:4:4\"]').hasAttribute('hidden')"
    assert window.run(hidden)
    window.click(".legend [data-series='BPG 4:4:4']")
    assert not window.run(hidden)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_of_the_window(window, width):
    window.pretend("setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    assert window.run("document.querySelectorAll('details').forEach(d => d.open = true); return innerWidth") == width
    sizes = "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    assert len(set(window.run(sizes))) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(window, scheme):
    window.pretend("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    script = """
        const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
        const rgb = colour => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = colour => rgb(colour).map(v => linear(v / 255))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const style = getComputedStyle(document.documentElement);
        const names = ['ink', 'muted', 'original', 'full', 'protected', 'machine', 'keyless'];
        return names.flatMap(name => ['ground', 'surface'].map(behind => {
            const [a, b] = [name, behind].map(n => light(style.getPropertyValue('--' + n))).sort((x, y) => y - x);
            return [name, behind, (a + 0.05) / (b + 0.05)];
        }));"""
    assert [pair for pair in window.run(script) if pair[2] < 4.5] == []
