"""Start the page: ``python app.py --model assets/demo``; also the entry of a Hugging Face Space."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from pathlib import Path
from threading import Thread

if __name__ == "__main__":
    gc.disable()  # a second of searching, and what is imported stays; see `set_aside_what_lasts`

# Read when the libraries are imported: no statistics, no look-ups of other hosts.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# After every answer Gradio sums up its last 10,000; the sum is shown nowhere here.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))

from ltad import Scorer, load_scorer
from ltad.app.operation import (
    give_memory_back,
    health_route,
    keep_to_own_cores,
    leave,
    set_aside_what_lasts,
)
from ltad.app.page import build_app, launch_options
from ltad.io.threads import keep_few_heaps
from ltad.workspace import Workspace

SHIPPED_RUNS = Path(__file__).parent / "assets" / "runs"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line. Inside a Space the page must listen on every address."""
    parser = argparse.ArgumentParser(description="Serve the LTAD page.")
    parser.add_argument("--model", default="assets/demo", help="folder of a trained model, or with "
                        "HF_HUB_OFFLINE=0 its name on the Hugging Face hub")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--work", type=Path, default=Path(".ltad"), metavar="DIR",
                        help="where batches, decisions, runs and trained models are kept")
    parser.add_argument("--folder", type=Path, action="append", default=[], metavar="DIR",
                        help="a folder on this machine whose images visitors may take into a "
                        "batch; can be given several times")
    parser.add_argument("--public", action=argparse.BooleanOptionalAction,
                        default=bool(os.environ.get("SPACE_ID")),
                        help="strangers visit the page: in Review each sees only what they brought "
                        "themselves, nobody trains, deletes or saves for others, and folders of "
                        "this machine are not offered; the default in a Hugging Face Space")
    listening = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME") or listening,
                        help="address to listen on; by default $GRADIO_SERVER_NAME or 127.0.0.1")
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT") or 7860,
                        help="by default $GRADIO_SERVER_PORT or 7860")
    parser.add_argument("--name", action="append", default=[], metavar="NAME",
                        help="a name by which the page is called beside localhost, addresses and "
                        "this machine's own name, for example behind a proxy; can be given several "
                        "times")
    parser.add_argument("--log", type=argparse.FileType("a", encoding="utf-8"), metavar="FILE",
                        help="append a line of JSON about each request, without anything that a "
                        "visitor sent; - for the standard output")
    parser.add_argument(
        "--share", action="store_true", help="also open a public address through gradio.live"
    )
    return parser.parse_args(arguments)


def settle(scorer: Scorer) -> None:
    """Behind the page's first answers: read the held-out images once, set aside what lasts."""
    gc.freeze()  # meanwhile garbage is searched for among what is new
    gc.enable()
    try:
        scorer.warm_up()
    finally:
        gc.unfreeze()
        set_aside_what_lasts()


def main() -> None:
    """Load the model and serve until interrupted or told to end (SIGTERM)."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    keep_few_heaps()
    give_memory_back()
    keep_to_own_cores()
    scorer = load_scorer(options.model, device=options.device)
    folders = () if options.public else tuple(options.folder)
    workspace = Workspace(options.work, folders, options.public, SHIPPED_RUNS)
    page = build_app(scorer, workspace=workspace)
    try:
        page.launch(
            server_name=options.host, server_port=options.port, share=options.share,
            prevent_thread_lock=True,
            **launch_options(options.public, options.name, options.share,
                             [health_route(scorer.name, workspace.root)], options.log),
        )
        Thread(target=settle, args=(scorer,), daemon=True).start()
        page.block_thread()
    except SystemExit:
        pass  # told to end
    finally:
        page.close(verbose=False)
    leave()


if __name__ == "__main__":
    main()
