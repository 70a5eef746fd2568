"""The encoders people use are mirrored, with and without their heads, at even and odd sizes."""

import shutil
from functools import cache

import pytest
import torch
from support.backbones import (
    MODELS,
    build,
    import_timm,
    import_torchvision,
    strided_layers,
    without_head,
)
from support.oracle import artifacts_allowed
from torch.func import functional_call

from autoup import AutoConvTranspose2d, mirror_decoder
from autoup.decoding import from_encoder as decoders

pytestmark = pytest.mark.slow

SIZES = {"r3d_18": [(1, 3, 8, 112, 112), (2, 3, 5, 57, 61)], "inception_v3": [(2, 3, 299, 299)]}
CASES = [
    (name, size) for name in MODELS for size in SIZES.get(name, [(1, 3, 224, 224), (2, 3, 97, 131)])
]
MILLION = 10**6


def grouped(cases):
    """Put together what is asked of one model."""
    cases = [(case,) if isinstance(case, str) else case for case in cases]
    return [pytest.param(*case, marks=pytest.mark.together(case[0])) for case in cases]


@cache
def backbone(name, head):
    return build(name) if head == "head" else without_head(build(name))


@pytest.fixture(scope="module")
def one_capture():
    """Capture an encoder once a size, whatever the options: that takes nearly all of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "capture", cache(decoders.capture))
        yield


def mirrored(encoder, size, **options):
    with artifacts_allowed():
        return mirror_decoder(encoder, size, **options)


def decode_without_arithmetic(decoder, code):
    """Run on the meta device, forward and back; return the output and who got no gradient."""
    tensors = {
        name: torch.empty_like(each, device="meta").requires_grad_(each.requires_grad)
        for name, each in [*decoder.named_parameters(), *decoder.named_buffers()]
    }
    made = functional_call(decoder, tensors, (code.to("meta"),))
    made.sum().backward()
    return made, [name for name, _ in decoder.named_parameters() if tensors[name].grad is None]


def code_of(encoder, size):
    with torch.no_grad():
        return encoder(torch.rand(size))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.usefixtures("one_capture")
@pytest.mark.parametrize("head", ["head", "no head"])
@pytest.mark.parametrize(("name", "size"), grouped(CASES), ids=str)
def test_backbone_is_mirrored_exactly(name, size, head):
    encoder = backbone(name, head)
    code = code_of(encoder, size)
    for options in ({}, {"stages": "resolution", "refine": 1}, {"residual": False}):
        decoder = mirrored(encoder, size, **options)
        made, unreached = decode_without_arithmetic(decoder, torch.cat([code, code, code]))
        assert made.shape == (3 * size[0], *size[1:])
        assert unreached == []
        if count(decoder) < 30 * MILLION:
            made = decoder(code)
            assert made.shape == size
            assert made.isfinite().all()


@pytest.mark.usefixtures("one_capture")
@pytest.mark.parametrize("head", ["head", "no head"])
@pytest.mark.parametrize("name", grouped(MODELS))
def test_children_account_for_every_strided_layer(name, head):
    encoder = backbone(name, head)
    decoder = mirrored(encoder, SIZES.get(name, [(2, 3, 97, 131)])[-1])
    names = [child for child, _ in decoder.named_children()]
    layers = [path.replace(".", "_") for path in strided_layers(encoder)]
    places = [
        next(n for n, child in enumerate(names) if layer == child or layer.startswith(f"{child}_"))
        for layer in layers
    ]
    assert len(layers) >= 4
    assert places == sorted(places, reverse=True)


def test_an_encoder_that_is_a_graph_gives_the_same_names():
    model = build("resnet18")
    from torchvision.models.feature_extraction import create_feature_extractor  # build() readied it

    graph = create_feature_extractor(model, {"layer4": "features"})
    size = (2, 3, 97, 131)
    names = [name for name, _ in mirrored(graph, size, output="features").named_children()]
    assert names == [name for name, _ in mirrored(without_head(model), size).named_children()]


TIMM = {
    "convnextv2_atto": {},
    "efficientnet_lite0": {"num_classes": 0},
    "edgenext_xx_small": {},
    "nf_resnet50": {"num_classes": 0, "global_pool": ""},
    "poolformer_s12": {},
    "swin_tiny_patch4_window7_224": {"img_size": (97, 131), "num_classes": 0},
}


@pytest.mark.parametrize("name", TIMM)
def test_timm_model_is_mirrored_exactly(name):
    encoder = import_timm().create_model(name, **TIMM[name]).eval()
    size = (2, 3, 97, 131)
    decoder = mirrored(encoder, size)
    made, unreached = decode_without_arithmetic(decoder, code_of(encoder, size))
    assert made.shape == size
    assert unreached == []


@pytest.mark.parametrize("level", range(5))
def test_pyramid_is_mirrored_from_every_level(level):
    encoder = import_timm().create_model("resnet18", features_only=True).eval()
    size = (2, 3, 97, 131)
    decoder = mirrored(encoder, size, output=level)
    with torch.no_grad():
        assert decoder(encoder(torch.rand(size))[level]).shape == size
    assert sum(isinstance(each, AutoConvTranspose2d) for each in decoder.modules()) > level


def test_class_token_is_told_with_its_layer():
    encoder = import_torchvision().models.vit_b_16(weights=None)
    with pytest.raises(ValueError, match=r"no grid of pixels behind layer 'cat' \(.*vision_transf"):
        mirror_decoder(encoder, (1, 3, 224, 224))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_decoder_compiles_once_for_any_batch():
    encoder = build("resnet18")
    decoder = mirrored(encoder, (2, 3, 97, 131)).eval()
    compiled = torch.compile(decoder, fullgraph=True, dynamic=True)
    for batch in (5, 7):
        code, again = torch.rand(batch, 1000), batch == 7
        with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=again):
            made = compiled(code)
            assert made.shape == (batch, 3, 97, 131)
            torch.testing.assert_close(made, decoder(code), rtol=1e-3, atol=1e-4)
