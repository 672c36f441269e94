"""A small ALIGN of transformers' own classes with random weights, for tests."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence

import torch
from transformers import AlignConfig, AlignModel, BertTokenizer

PROMPT_TOKENS = 64
REPEATS = (1, 1, 4, 5, 3, 3, 1)
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def word_tokenizer(words: Iterable[str]) -> BertTokenizer:
    """A WordPiece tokenizer in which each of `words` is one token; all others are spelled out.

    Pieces learned from a corpus would come out in another order, and not always the same, each
    time: the trainer breaks ties at random. Words and characters need no training.

    Args:
        words: lower-case words.
    """
    spelled = [*CHARACTERS, *(f"##{character}" for character in CHARACTERS)]
    tokens = dict.fromkeys([*SPECIAL_TOKENS, *spelled, *sorted(set(words))])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=PROMPT_TOKENS)


def small_align(
    vocabulary_size: int,
    channels: Sequence[int] = (16, 32, 48, 96, 112, 160, 256),
    repeats: Sequence[int] = REPEATS,
    expansion: Sequence[int] = (1, 3, 3, 3, 4, 4, 4),
    strides: Sequence[int] = (1, 2, 2, 2, 1, 1, 1),
    text_width: int = 192,
    text_layers: int = 2,
    image_size: int = 192,
    seed: int = 0,
) -> AlignModel:
    """A randomly initialised AlignModel of the given shape; the last map has 1/16 the input's side.

    Depthwise kernels are 3 x 3 throughout: their backward pass on a CPU is ten times faster than
    that of 5 x 5, and the strides of 16 leave enough blocks to see the whole image. A block with
    a shortcut starts as the identity (its last batch norm's weight is zero).
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
        model = AlignModel(config)
    for block in model.vision_model.encoder.blocks:
        if block.projection.apply_dropout:
            torch.nn.init.zeros_(block.projection.project_bn.weight)
    return model
