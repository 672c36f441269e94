"""An AlignModel whose towers are EfficientNet-Lite1 and MiniLM-L6, each exact.

EfficientNet-Lite is EfficientNet without squeeze-and-excitation and with ReLU6, so ALIGN's image
tower computes it once its gates stand open. The classifier's own 1,280 channels follow as one
block more: an inverted residual block that expands 320 channels to 1,280 is, without its depthwise
filter, the layer that the classifier reads. That block's projection leads into the joint space.

MiniLM is a BERT whose sentence vector is the mean over its tokens, while ALIGN reads the state of
[CLS]. One layer more takes that mean: with queries of zero, attention is uniform.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AlignConfig, AlignModel, AutoTokenizer, PreTrainedTokenizerBase

from ltad.pretraining.sources import IMAGE_TOWER, TEXT_TOWER, fetch

CHANNELS = (16, 24, 40, 80, 112, 192, 320)
REPEATS = (1, 3, 3, 4, 4, 5, 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
KERNELS = (3, 3, 5, 3, 5, 5, 3)
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
HEAD_EXPANSION = 4
"""320 x 4 = 1,280, the classifier's width."""
NORM_EPSILON = 1e-3
OPEN_GATE = 100.0
"""A sigmoid of this is 1 in single precision."""
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = 384, 6, 12
POSITIONS = 512
MEAN_GAIN = 1000.0
"""How far the mean over the tokens outweighs [CLS] itself before the layer is normalised."""


def align_config(vocabulary: int, joint_width: int, image_size: int) -> AlignConfig:
    """The configuration of both towers.

    Args:
        vocabulary: tokens of the text tower.
        joint_width: d, a multiple of 8.
        image_size: side of the input in pixels.
    """
    return AlignConfig(
        text_config={
            "vocab_size": vocabulary, "hidden_size": TEXT_WIDTH,
            "num_hidden_layers": TEXT_LAYERS + 1, "num_attention_heads": TEXT_HEADS,
            "intermediate_size": 4 * TEXT_WIDTH, "max_position_embeddings": POSITIONS,
            "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        vision_config={
            "image_size": image_size, "width_coefficient": 1.0, "depth_coefficient": 1.0,
            "kernel_sizes": [*KERNELS, 1], "in_channels": [32, *CHANNELS],
            "out_channels": [*CHANNELS, joint_width], "strides": [*STRIDES, 1],
            "num_block_repeats": [*REPEATS, 1],
            "expand_ratios": [*EXPANSIONS, HEAD_EXPANSION],
            "depthwise_padding": [], "hidden_act": "relu6", "squeeze_expansion_ratio": 1e-6,
            "hidden_dim": max(image_size // 16, 16), "batch_norm_eps": NORM_EPSILON,
            "drop_connect_rate": 0.0,
        },
        projection_dim=joint_width,
        temperature_init_value=0.05,
    )


def exact_towers(
    work: str | Path, joint_width: int, image_size: int
) -> tuple[AlignModel, PreTrainedTokenizerBase, Tensor]:
    """Both towers with their original weights, the tokenizer, and the classifier's weights.

    The joint space itself (the last block's projection and `text_projection`) is left as
    transformers initialises it.

    Args:
        work: where the packages are kept.
        joint_width: d.
        image_size: side of the input in pixels.

    Returns:
        The model in eval mode; the tokenizer; the classifier's weights, (1000, 1280) float32.
    """
    text_folder = fetch(TEXT_TOWER, work) / TEXT_TOWER.members[0]
    tokenizer = AutoTokenizer.from_pretrained(str(text_folder))
    lite_file = next((fetch(IMAGE_TOWER, work) / IMAGE_TOWER.members[0]).glob("*.pth"))
    # The one pickle of the recipe; weights_only admits tensors and nothing that could run.
    lite = torch.load(lite_file, weights_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AlignModel(align_config(len(tokenizer), joint_width, image_size))
    _load(model.vision_model, image_weights(lite, model.vision_model.state_dict()))
    _load(model.text_model, text_weights(load_file(text_folder / "model.safetensors")))
    return model.eval(), tokenizer, lite["_fc.weight"]


def _load(module: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    found = module.load_state_dict(weights, strict=False)
    left = [k for k in found.missing_keys if not k.endswith("num_batches_tracked")
            and not k.startswith(("pooler.", f"encoder.blocks.{sum(REPEATS)}.projection"))]
    if left or found.unexpected_keys:
        raise ValueError(f"weights that do not fit: {left + list(found.unexpected_keys)}")


def image_weights(lite: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite's weights under the names of transformers' `AlignVisionModel`.

    Args:
        lite: the original state dict.
        own: the image tower's state dict, for the shapes of the gates.
    """
    weights: dict[str, Tensor] = {}

    def take(target: str, convolution: str, norm_target: str, norm: str) -> None:
        weights[f"{target}.weight"] = lite[f"{convolution}.weight"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{norm_target}.{part}"] = lite[f"{norm}.{part}"]

    take("embeddings.convolution", "_conv_stem", "embeddings.batchnorm", "_bn0")
    for index in range(sum(REPEATS)):
        block, original = f"encoder.blocks.{index}", f"_blocks.{index}"
        if f"{original}._expand_conv.weight" in lite:
            take(f"{block}.expansion.expand_conv", f"{original}._expand_conv",
                 f"{block}.expansion.expand_bn", f"{original}._bn0")
        take(f"{block}.depthwise_conv.depthwise_conv", f"{original}._depthwise_conv",
             f"{block}.depthwise_conv.depthwise_norm", f"{original}._bn1")
        take(f"{block}.projection.project_conv", f"{original}._project_conv",
             f"{block}.projection.project_bn", f"{original}._bn2")
    head = f"encoder.blocks.{sum(REPEATS)}"
    take(f"{head}.expansion.expand_conv", "_conv_head", f"{head}.expansion.expand_bn", "_bn1")
    depthwise = f"{head}.depthwise_conv"
    weights[f"{depthwise}.depthwise_conv.weight"] = torch.ones_like(
        own[f"{depthwise}.depthwise_conv.weight"]
    )
    width = len(own[f"{depthwise}.depthwise_norm.weight"])
    identity = {"weight": (1.0 + NORM_EPSILON) ** 0.5, "bias": 0.0, "running_mean": 0.0,
                "running_var": 1.0}
    for part, value in identity.items():
        weights[f"{depthwise}.depthwise_norm.{part}"] = torch.full((width,), value)
    for name, tensor in own.items():
        if ".squeeze_excite." in name:
            is_gate = name.endswith(".expand.bias")
            weights[name] = torch.full_like(tensor, OPEN_GATE if is_gate else 0.0)
    return weights


def text_weights(bert: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MiniLM's weights under the names of `AlignTextModel`, with the layer that averages."""
    weights = {k: v for k, v in bert.items()
               if not k.startswith("pooler.") and not k.endswith("position_ids")}
    width, layer = TEXT_WIDTH, f"encoder.layer.{TEXT_LAYERS}."
    identity = torch.eye(width)
    matrices = {
        "attention.self.query": torch.zeros(width, width),
        "attention.self.key": torch.zeros(width, width),
        "attention.self.value": identity,
        "attention.output.dense": identity * MEAN_GAIN,
        "intermediate.dense": torch.zeros(4 * width, width),
        "output.dense": torch.zeros(width, 4 * width),
    }
    for name, matrix in matrices.items():
        weights[f"{layer}{name}.weight"] = matrix
        weights[f"{layer}{name}.bias"] = torch.zeros(len(matrix))
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
        weights[f"{layer}{name}.weight"] = torch.ones(width)
        weights[f"{layer}{name}.bias"] = torch.zeros(width)
    return weights
