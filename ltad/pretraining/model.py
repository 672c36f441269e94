"""A small ALIGN of transformers' own classes, with a WordPiece vocabulary of whole words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AlignConfig, AlignModel, BertTokenizer

PROMPT_TOKENS = 64


def train_tokenizer(corpus: Iterator[str], words: Iterable[str], size: int) -> BertTokenizer:
    """A WordPiece tokenizer in which each of `words` is one token.

    Args:
        corpus: sentences; their letters and frequent pieces fill the vocabulary up to `size`.
        words: lower-case words that must stay whole.
    """
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(corpus, vocab_size=size, min_frequency=2, show_progress=False)
    vocabulary = trainer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.get)
    whole = [word for word in sorted(set(words)) if word not in vocabulary]
    ordered = {token: index for index, token in enumerate([*pieces, *whole])}
    return BertTokenizer(vocab=ordered, do_lower_case=True, model_max_length=PROMPT_TOKENS)


def small_align(
    vocabulary_size: int,
    channels: Sequence[int] = (16, 32, 48, 96, 112, 160, 256),
    repeats: Sequence[int] = (1, 1, 2, 3, 2, 2, 1),
    expansion: Sequence[int] = (1, 3, 3, 3, 4, 4, 4),
    strides: Sequence[int] = (1, 2, 2, 2, 1, 1, 1),
    text_width: int = 192,
    text_layers: int = 2,
    image_size: int = 192,
    seed: int = 0,
) -> AlignModel:
    """A randomly initialised AlignModel of the given shape; the last map has 1/16 the input's side.

    Depthwise kernels are 3 x 3 throughout: their backward pass on a CPU is ten times faster than
    that of 5 x 5, and the strides of 16 leave enough blocks to see the whole picture.
    """
    config = AlignConfig(
        text_config={
            "vocab_size": vocabulary_size, "hidden_size": text_width,
            "num_hidden_layers": text_layers, "num_attention_heads": text_width // 32,
            "intermediate_size": 4 * text_width, "max_position_embeddings": PROMPT_TOKENS,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        vision_config={
            "image_size": image_size, "width_coefficient": 1.0, "depth_coefficient": 1.0,
            "kernel_sizes": [3] * len(channels), "in_channels": [32, *channels[:-1]],
            "out_channels": list(channels), "strides": list(strides),
            "num_block_repeats": list(repeats), "expand_ratios": list(expansion),
            "depthwise_padding": [], "hidden_dim": max(image_size // 8, 16),
            "batch_norm_momentum": 0.1, "drop_connect_rate": 0.0,
        },
        projection_dim=channels[-1],
        temperature_init_value=0.07,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AlignModel(config)
