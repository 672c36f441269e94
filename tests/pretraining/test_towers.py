"""The embedded encoder's towers compute exactly what the networks computed that they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AlignModel, AutoTokenizer, BertConfig, BertModel

from ltad.models.align import OpenGate, load_encoder
from ltad.pretraining import towers

ENCODER = Path(__file__).parents[2] / "assets" / "demo" / "encoder"
KERNELS = [k for k, n in zip(towers.KERNELS, towers.REPEATS, strict=True) for _ in range(n)]
STRIDES = [
    s if i == 0 else 1
    for s, n in zip(towers.STRIDES, towers.REPEATS, strict=True) for i in range(n)
]
EPSILON = 1e-3


def padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's "SAME" padding."""
    whole = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
    return functional.pad(x, (whole // 2, whole - whole // 2) * 2)


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return functional.batch_norm(
        x, *(weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight",
                                                   "bias")), eps=EPSILON,
    )


def lite_forward(weights: dict[str, Tensor], x: Tensor) -> tuple[list[Tensor], Tensor]:
    """EfficientNet-Lite written out plainly: outputs of all blocks, and of the head."""
    x = functional.conv2d(padded(x, 3, 2), weights["_conv_stem.weight"], stride=2)
    x, outputs = functional.relu6(norm(x, weights, "_bn0")), []
    for index, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
        block, before = f"_blocks.{index}", x
        if f"{block}._expand_conv.weight" in weights:
            x = functional.conv2d(x, weights[f"{block}._expand_conv.weight"])
            x = functional.relu6(norm(x, weights, f"{block}._bn0"))
        depthwise = weights[f"{block}._depthwise_conv.weight"]
        x = functional.conv2d(padded(x, kernel, stride), depthwise, stride=stride,
                              groups=len(depthwise))
        x = functional.relu6(norm(x, weights, f"{block}._bn1"))
        x = norm(functional.conv2d(x, weights[f"{block}._project_conv.weight"]), weights,
                 f"{block}._bn2")
        x = x + before if stride == 1 and x.shape == before.shape else x
        outputs.append(x)
    head = norm(functional.conv2d(x, weights["_conv_head.weight"]), weights, "_bn1")
    return outputs, functional.relu6(head)


def random_lite() -> dict[str, Tensor]:
    """Weights of an EfficientNet-Lite1 under its own names, random but of sensible size."""
    torch.manual_seed(3)
    weights: dict[str, Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        fan = inputs * kernel * kernel
        weights[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (2 / fan) ** 0.5

    def batch_norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = torch.rand(width) + 0.5
        weights[f"{name}.bias"] = torch.randn(width) * 0.1
        weights[f"{name}.running_mean"] = torch.randn(width) * 0.1
        weights[f"{name}.running_var"] = torch.rand(width) + 0.5

    convolution("_conv_stem", 32, 3, 3)
    batch_norm("_bn0", 32)
    width, index = 32, 0
    for outputs, repeats, expansion in zip(
        towers.CHANNELS, towers.REPEATS, towers.EXPANSIONS, strict=True
    ):
        for _ in range(repeats):
            block, hidden = f"_blocks.{index}", width * expansion
            if expansion > 1:
                convolution(f"{block}._expand_conv", hidden, width, 1)
                batch_norm(f"{block}._bn0", hidden)
            convolution(f"{block}._depthwise_conv", hidden, 1, KERNELS[index])
            batch_norm(f"{block}._bn1", hidden)
            convolution(f"{block}._project_conv", outputs, hidden, 1)
            batch_norm(f"{block}._bn2", outputs)
            width, index = outputs, index + 1
    convolution("_conv_head", 1280, width, 1)
    batch_norm("_bn1", 1280)
    return weights


def original_names(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    """The shipped image tower's tensors under EfficientNet-Lite's names."""
    def moved(target: str, source: str) -> dict[str, Tensor]:
        return {f"{target}.{k.removeprefix(source + '.')}": v for k, v in tower.items()
                if k.startswith(source + ".")}

    names = moved("_conv_stem", "embeddings.convolution") | moved("_bn0", "embeddings.batchnorm")
    for index in range(sum(towers.REPEATS)):
        block, own = f"_blocks.{index}", f"encoder.blocks.{index}"
        for target, source in (
            ("_expand_conv", "expansion.expand_conv"), ("_bn0", "expansion.expand_bn"),
            ("_depthwise_conv", "depthwise_conv.depthwise_conv"),
            ("_bn1", "depthwise_conv.depthwise_norm"),
            ("_project_conv", "projection.project_conv"), ("_bn2", "projection.project_bn"),
        ):
            names |= moved(f"{block}.{target}", f"{own}.{source}")
    last = f"encoder.blocks.{sum(towers.REPEATS)}"
    return names | moved("_conv_head", f"{last}.expansion.expand_conv") | moved(
        "_bn1", f"{last}.expansion.expand_bn")


def assert_same(found: list[Tensor], wanted: list[Tensor]) -> None:
    for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert (a - b).abs().max() <= 1e-4 * (1 + b.abs().max()), index


@torch.inference_mode()
def test_converted_weights_compute_what_the_original_network_does():
    lite = random_lite()
    model = AlignModel(towers.align_config(50, 16, 96)).vision_model.eval()
    towers._load(model, towers.image_weights(lite, model.state_dict()))
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    outputs, head = lite_forward(lite, pixels)
    hidden, found = model.embeddings(pixels), []
    *blocks, last = model.encoder.blocks
    for block in blocks:
        hidden = block(hidden)
        found.append(hidden)
    assert_same([*found, last.depthwise_conv(last.expansion(hidden))], [*outputs, head])


@torch.inference_mode()
def test_the_shipped_image_tower_is_exact():
    encoder = load_encoder(ENCODER)
    size = encoder.settings.image_size
    pixels = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    outputs, head = lite_forward(original_names(encoder.model.vision_model.state_dict()), pixels)
    features = encoder.image_features(pixels, with_latent=True)
    projection = encoder.model.vision_model.encoder.blocks[-1].projection
    assert_same(list(features.taps), [outputs[tap] for tap in encoder.settings.taps])
    assert_same([features.latent], [projection(head, head)])


@torch.inference_mode()
def test_open_gates_are_left_out_and_change_nothing():
    encoder, whole = load_encoder(ENCODER), AlignModel.from_pretrained(ENCODER, dtype=torch.float32)
    blocks = encoder.model.vision_model.encoder.blocks
    assert all(isinstance(block.squeeze_excite, OpenGate) for block in blocks)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    wanted = whole.eval().vision_model(pixels).last_hidden_state
    found = encoder.image_features(pixels, with_latent=True).latent
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert set(encoder.model.state_dict()) == set(whole.state_dict())


@torch.inference_mode()
def test_the_shipped_text_tower_is_bert_and_its_last_layer_the_mean():
    encoder = load_encoder(ENCODER)
    config = encoder.model.config.text_config
    bert = BertModel(BertConfig(
        vocab_size=config.vocab_size, hidden_size=towers.TEXT_WIDTH,
        num_hidden_layers=towers.TEXT_LAYERS, num_attention_heads=towers.TEXT_HEADS,
        intermediate_size=4 * towers.TEXT_WIDTH, max_position_embeddings=towers.POSITIONS,
        layer_norm_eps=1e-12,
    ), add_pooling_layer=False).eval()
    own = encoder.model.text_model.state_dict()
    bert.load_state_dict({k: v for k, v in own.items()
                          if not k.startswith(("pooler.", f"encoder.layer.{towers.TEXT_LAYERS}."))})
    tokens = AutoTokenizer.from_pretrained(ENCODER)(
        ["a broken screw", "a leather with a hole in its upper left corner"],
        padding=True, return_tensors="pt",
    )
    states = encoder.model.text_model(**tokens, output_hidden_states=True)
    wanted = bert(**tokens).last_hidden_state
    mask = tokens["attention_mask"].bool()
    torch.testing.assert_close(states.hidden_states[towers.TEXT_LAYERS][mask], wanted[mask],
                               rtol=1e-4, atol=1e-4)
    weights = mask.float()[:, :, None]
    mean = (wanted * weights).sum(dim=1) / weights.sum(dim=1)
    found = states.last_hidden_state[:, 0]
    expected = functional.layer_norm(mean, (towers.TEXT_WIDTH,))
    assert functional.cosine_similarity(found, expected).min() > 0.9999
    assert found.std(dim=1, unbiased=False) == pytest.approx([1.0, 1.0], abs=1e-4)


def test_every_part_of_the_encoder_fits_a_repository():
    sizes = {path.name: path.stat().st_size for path in ENCODER.iterdir()}
    assert max(sizes.values()) < 25e6 and sum(sizes.values()) < 80e6
    assert not [name for name in sizes if name.endswith((".pth", ".pt", ".bin", ".pkl"))]
    assert {"NOTICE.md", "pretraining.json", "semantic_start.safetensors"} <= set(sizes)
