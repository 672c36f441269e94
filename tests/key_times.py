"""From a key to the image on the page: ``python tests/key_times.py [--presses 30]``.

Starts ``app.py`` on the embedded model, opens it in Chromium, sends one image and presses arrow
keys on the controls of the Inspect tab. Prints for each the milliseconds from the key's event until
the first frame of the browser that shows what it changed: the combined heatmap, the verdict (the
false-alarm rate moves only the threshold), or the opacity of the maps. Page and browser share the
machine. Needs ``requirements-dev.txt`` and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from ltad.bench.served import image_file, served

HEATMAP = "document.querySelector('#lt-result .lt-heat').src"
VERDICT = "document.querySelector('#lt-answer .lt-gauge').ariaLabel"
OPACITY = "getComputedStyle(document.querySelector('#lt-result .lt-heat')).opacity"
CONTROLS = {
    "λ": ("input[type=range][aria-label*='λ']", HEATMAP),
    "τ": ("input[type=range][aria-label*='τ']", HEATMAP),
    "false alarms accepted": ("input[type=range][aria-label*='False alarms']", VERDICT),
    "opacity": ("[data-lt-opacity]", OPACITY),
}
"""Name -> the control, and what on the page follows it."""
WAIT_FOR_CHANGE = """() => new Promise((resolve) => {
    const shown = () => %s;
    const before = shown();
    let pressed = null;
    const note = () => { pressed = performance.now(); };
    addEventListener("keydown", note, { once: true, capture: true });
    const look = () => {
        if (pressed !== null && shown() !== before) resolve(performance.now() - pressed);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""


def press(page: Page, control: str, shown: str, presses: int) -> list[float]:
    """Milliseconds of each of so many presses of an arrow key, there and back again in turn."""
    page.locator(control).focus()
    taken = list[float]()
    for number in range(presses + 2):
        page.evaluate(f"window.changed = ({WAIT_FOR_CHANGE % shown})(), null")
        page.keyboard.press("ArrowLeft" if number % 4 < 2 else "ArrowRight")
        taken.append(page.evaluate("window.changed"))
        page.wait_for_timeout(300)
    return taken[2:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python tests/key_times.py", description=__doc__)
    parser.add_argument("--presses", type=int, default=30, help="of each control")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "part.jpg").write_bytes(image_file(0))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with served("assets/demo", folder) as (url, _, _):
            page = browser.new_page()
            page.goto(url)
            page.set_input_files("#lt-photo input[type=file]", folder / "part.jpg")
            page.wait_for_selector("#lt-result .lt-heat")
            page.wait_for_timeout(2000)
            print(f"{'milliseconds from key to image':34} {'median':>7} {'95%':>7}")
            for label, (control, shown) in CONTROLS.items():
                taken = press(page, control, shown, options.presses)
                middle, most = np.quantile(taken, (0.5, 0.95))
                print(f"{label:34} {middle:7.0f} {most:7.0f}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
