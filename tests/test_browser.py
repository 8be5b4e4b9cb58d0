"""The notebooks as a reader meets them: JupyterLab in a real browser, cells run, a slider moved.

Pictures of what was there are left in ``runs/screenshots/``. Where no Chromium is found, all of it is skipped.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from sungen_lib.lab import notebooks

SCREENSHOTS = notebooks.REPOSITORY / "runs" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
STARTS, RUNS = 90_000, 240_000  # ms: a server or a kernel; a whole notebook whose runs are not in the store yet
# What a reader may have set by hand, and what would ask the network: here all cells are on the page, whatever its size.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
SLIDER = """
import ipywidgets
from IPython.display import display

slider = ipywidgets.IntSlider(value=3, min=0, max=10, description="level")
shown = ipywidgets.Output()


def show(change):
    shown.clear_output()
    with shown:
        print("square:", change["new"] ** 2)


slider.observe(show, names="value")
display(slider, shown)
"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium and no google-chrome on the PATH"),
    pytest.mark.timeout(420),
]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab; ``folder`` is where its notebooks are."""

    url: str
    token: str
    folder: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab as the README says to start it, on 127.0.0.1 with a token, away from the user's own settings."""
    root = tmp_path_factory.mktemp("lab")
    folder = root / "notebooks"
    folder.mkdir()
    for name, content in SETTINGS.items():
        file = root / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"} | {
        "JUPYTER_TOKEN": secrets.token_hex(16),
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "JUPYTER_PATH": os.pathsep.join([f"{sys.prefix}/share/jupyter", os.environ.get("JUPYTER_PATH", "")]),
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
        "PYTHONPATH": os.pathsep.join([str(notebooks.REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"]
    with (root / "log").open("w") as log:
        server = subprocess.Popen([*command, f"--ServerApp.root_dir={folder}"], env=environment, stdout=log, stderr=log)
        try:
            yield Lab(_address(server, root), environment["JUPYTER_TOKEN"], folder)
        finally:
            server.terminate()
            server.wait(timeout=30)


def _address(server: subprocess.Popen[bytes], root: Path) -> str:
    about = root / "runtime" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + STARTS / 1000
    while server.poll() is None and time.monotonic() < deadline:
        if about.exists() and about.stat().st_size:
            return str(json.loads(about.read_text(encoding="utf-8"))["url"])
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start: {(root / 'log').read_text(encoding='utf-8')[-2000:]}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(STARTS)
    yield page
    page.close()


def with_parameters(name: str, line: str) -> nbformat.NotebookNode:
    """A notebook of the suite with one more line in its parameters cell."""
    notebook = nbformat.read(notebooks.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"\n{line}"
    return notebook


def run_all(page: Page, lab: Lab, notebook: nbformat.NotebookNode, name: str) -> None:
    """Open a copy of ``notebook``, run all its cells from the menu, wait until the last has run.

    The copy has no outputs: whatever is on the page was made there.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, lab.folder / f"{name}.ipynb")
    idle = page.get_by_text("Python 3 (ipykernel) | Idle")
    page.goto(f"{lab.url}lab/tree/{name}.ipynb?reset&token={lab.token}")
    expect(idle).to_be_visible(timeout=STARTS)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    prompts = page.locator(".jp-CodeCell .jp-InputArea-prompt")
    folded = [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in code]  # they have no prompt
    shown = [f"[{number}]:" for number, hidden in enumerate(folded, 1) if not hidden]
    expect(prompts).to_have_text(shown, timeout=RUNS)
    expect(idle).to_be_visible(timeout=STARTS)


def picture(page: Page, name: str) -> None:
    """The whole notebook as one picture: the window is made as high as the notebook is long."""
    page.locator(".jp-WindowedPanel-outer").evaluate("panel => panel.scrollTop = 0")
    end = page.locator(".jp-Cell").last.bounding_box()
    assert end is not None
    page.set_viewport_size({"width": 1280, "height": round(end["y"] + end["height"]) + 60})
    page.wait_for_timeout(500)  # until it is laid out anew
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def outputs(page: Page, mime_type: str) -> Locator:
    return page.locator(f".jp-OutputArea-output[data-mime-type='{mime_type}']")


def assert_clean(page: Page) -> None:
    """No cell failed, none warned or left a progress bar behind as text."""
    expect(outputs(page, "application/vnd.jupyter.error")).to_have_count(0)
    expect(outputs(page, "application/vnd.jupyter.stderr")).to_have_count(0)


@pytest.mark.parametrize("profile", ["tiny", pytest.param("embedded", marks=pytest.mark.heavy)])
def test_the_quickstart_runs_and_shows_its_tables_and_its_figure(profile: str, lab: Lab, page: Page) -> None:
    run_all(page, lab, with_parameters("00_quickstart", f'profile = "{profile}"'), "quickstart")
    picture(page, "quickstart")
    assert_clean(page)
    tables = page.locator(".jp-OutputArea-output table")
    for words in ("dropped", "test accuracy (%)"):
        expect(tables.filter(has_text=words)).to_have_count(1)
    for table in tables.all():
        assert table.evaluate("table => table.scrollWidth <= table.closest('.jp-OutputArea-output').clientWidth"), "cut"
    figures = page.locator(".jp-OutputArea-output img")
    expect(figures).to_have_count(2)  # the committed one of real text, and that of this run
    for figure in figures.all():
        assert figure.evaluate("image => image.complete && image.naturalWidth") > 400
    # Progress is one bar that was moved, not a line for each step.
    expect(page.get_by_role("progressbar")).to_have_count(1)


def test_a_moved_slider_reaches_the_kernel_and_its_answer_the_page(lab: Lab, page: Page) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SLIDER)], metadata=KERNEL)
    run_all(page, lab, notebook, "slider")
    page.get_by_role("slider").press("ArrowRight")
    expect(page.get_by_text("square: 16", exact=True)).to_be_visible()
    picture(page, "slider")
    assert_clean(page)


def test_the_explorer_of_your_data_answers_a_slider(lab: Lab, page: Page) -> None:
    run_all(page, lab, with_parameters("your_data", "iterations = 2"), "your_data")
    expect(page.get_by_text("1,000 of 1,000 texts; page 1 of 100", exact=True)).to_be_visible()
    assert page.locator(".widget-dropdown select").evaluate("menu => menu.selectedIndex") == 0, "shown empty"
    lowest = page.get_by_role("slider").first
    for _ in range(11):  # five steps of 0.01 each, to 0.55: two iterations leave the weights near 0.5
        lowest.press("PageUp")
    fewer = page.get_by_text(re.compile(r"^\d+ of 1,000 texts; page 1 of \d\d$"))
    expect(fewer).to_be_visible()
    picture(page, "your_data")
    assert_clean(page)
    expect(page.locator(".jp-OutputArea-output img")).to_have_count(1)  # the figure that followed the learning


def test_without_the_token_there_is_a_login_page(lab: Lab, page: Page) -> None:
    page.goto(f"{lab.url}lab")
    assert "/login" in page.url
