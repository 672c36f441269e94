"""The commands that make and measure the embedded encoder: pretrain, probe."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace

import pandas as pd

from ltad.encoders import load_encoder
from ltad.pretraining import probe as probing
from ltad.pretraining.pool import SEEN_PART_CLASSES
from ltad.pretraining.train import PretrainingSettings
from ltad.pretraining.train import pretrain as pretrain_encoder


def pretrain(options: Namespace) -> None:
    """``python -m ltad pretrain``"""
    given = {"steps": options.steps, "pairs": options.pairs, "seed": options.seed}
    settings = replace(
        PretrainingSettings(), **{k: v for k, v in given.items() if v is not None}
    )
    pretrain_encoder(options.out, settings, options.work / "pretraining")
    recorded = json.loads((options.out / "pretraining.json").read_text(encoding="utf-8"))
    naming = {k: f"{100 * v:.1f}%" for k, v in recorded["naming"].items()}
    print(f"ImageNet's names in held-out phrasings: {naming['top1']} nearest to their own "
          f"direction, {naming['top5']} among the five nearest")
    print(f"The encoder is in {options.out}. Measure it: python -m ltad probe --encoder "
          f"{options.out}")


def probe(options: Namespace) -> None:
    """``python -m ltad probe``"""
    reader = probing.Reader(load_encoder(options.encoder, device=options.device))
    if options.data:
        views = probing.folder_views(reader, options.data)
    else:
        views = probing.rendered_views(reader, options.per_defect, options.good)
    readings = list(next(iter(views.values()))["good"].readings)
    tables = {"state prompts": probing.state_prompts(reader, views)}
    by = ["class", "reading"] if options.data else ["group", "reading"]
    _show('"a X" against "a broken X", AUROC in percent',
          tables["state prompts"].groupby(by, sort=False)[["image", "pixel"]].mean())
    if options.words:
        for reading in readings:
            pairs = [*probing.TABLE_9, *probing.OTHER_PAIRS, *probing.held_out_pairs()]
            found = probing.pairs_of_prompts(reader, views, reading, pairs)
            tables[f"pairs, {reading}"] = found
            _show(f"pairs of prompts, {reading}: image AUROC; share of places whose S_sem moves by "
                  f"more than {probing.MOVED}", found.set_index(["normal", "abnormal"]))
            words = probing.words_by_defect(reader, views, reading, probing.WORD_TABLE)
            tables[f"words, {reading}"] = words.reset_index(names="word")
            _show(f"words x defect types, {reading}: image AUROC", words)
    if not options.data:
        for candidates in (SEEN_PART_CLASSES, probing.PART_CLASSES):
            shares = probing.naming(reader, views, candidates)
            seen = [shares[name] for name in SEEN_PART_CLASSES]
            print(f"naming among {len(candidates)} names: seen classes "
                  f"{100 * sum(seen) / len(seen):.1f}%"
                  + "".join(f", {n} {100 * v:.0f}%" for n, v in shares.items()
                            if n not in SEEN_PART_CLASSES))
    if options.json:
        plain = {name: table.to_dict(orient="records") for name, table in tables.items()}
        options.json.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n" + (100 * table).to_string(float_format="%.1f") + "\n")
