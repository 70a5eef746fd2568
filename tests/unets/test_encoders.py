"""U-Nets on the encoders people use: exact at every size, trained in every part that is used."""

from functools import cache
from time import process_time

import pytest
import torch
from support.backbones import build, import_timm, import_torchvision

from autoup import unet
from autoup.capturing.capture import capture

pytestmark = pytest.mark.slow

SIZE = (2, 3, 97, 131)
TORCHVISION = [
    "resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d", "vgg16_bn", "alexnet",
    "densenet121", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "convnext_tiny", "swin_t", "regnet_x_400mf", "regnet_y_400mf", "inception_v3", "googlenet",
    "squeezenet1_1", "shufflenet_v2_x1_0", "mnasnet0_5", "r3d_18",
]  # fmt: skip
TIMM = [
    "repvgg_a0", "seresnet50", "res2net50_14w_8s", "cspdarknet53", "poolformer_s12",
    "hgnetv2_b0", "pvt_v2_b0", "mobilevit_xxs", "hrnet_w18_small", "swin_tiny_patch4_window7_224",
]  # fmt: skip
FEATURES = ["resnet18", "efficientnet_b0", "hrnet_w18_small"]
TRANSFORMERS = {
    "SegformerModel": "SegformerConfig",
    "ResNetModel": "ResNetConfig",
    "ResNetBackbone": "ResNetConfig",
}
SIZES = {
    "r3d_18": (2, 3, 9, 57, 61),
    "hrnet_w18_small": (2, 3, 96, 128),
    "swin_tiny_patch4_window7_224": (1, 3, 224, 224),
}
CASES = [
    *(("torchvision", each) for each in TORCHVISION),
    *(("timm", each) for each in TIMM),
    *(("timm's features", each) for each in FEATURES),
    *(("transformers", each) for each in TRANSFORMERS),
]
ONE_SIZE = {"swin_tiny_patch4_window7_224", "hrnet_w18_small"}
# Its auxiliary classifier refuses small maps, in training alone.
EVALUATED = {"inception_v3"}
# Where it is not what timm names. DenseNet: the half of a block's channels that its transition
# makes, in place of all that are concatenated. MobileNetV3: the deepest map, not the layer behind
# it that makes more channels of each place. GhostNet: the last map of 1/16, of which timm names an
# earlier one.
OTHER_CHANNELS = {
    "densenet121": [64, 128, 256, 512, 1024],
    "ghostnet_100": [16, 24, 40, 112, 160],
    "mobilenetv3_small_100": [16, 16, 24, 48, 96],
    "mobilenetv3_large_100": [16, 24, 40, 112, 160],
}
COMMON = [
    "resnet18", "resnet50", "resnext50_32x4d", "seresnet50", "regnetx_002", "regnety_002",
    "efficientnet_b0", "efficientnet_lite0", "tf_efficientnetv2_b0", "mobilenetv2_100",
    "mobilenetv3_small_100", "mobilenetv3_large_100", "mnasnet_100", "convnext_atto", "vgg16_bn",
    "densenet121", "ghostnet_100", "repvgg_a0", "cspdarknet53",
]  # fmt: skip


def grouped(cases):
    return [pytest.param(*each, marks=pytest.mark.together(each[-1])) for each in cases]


def transformers_model(name):
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    stages = ["stage1", "stage2", "stage3", "stage4"]
    options = {"out_features": stages} if name.endswith("Backbone") else {}
    config = getattr(transformers, TRANSFORMERS[name])(**options)
    return getattr(transformers, name)(config)


def encoder_of(origin, name):
    if origin == "torchvision":
        return build(name)
    if origin == "transformers":
        return transformers_model(name)
    return import_timm().create_model(name, features_only=origin == "timm's features")


@cache
def net_on(origin, name):
    torch.manual_seed(0)
    size = SIZES.get(name, SIZE)
    return unet(encoder_of(origin, name), size, 2), size


def sizes_beside(size):
    """Yield sizes 1 larger, 3 smaller and 8 larger, along all axes and each alone."""
    for batch, more in enumerate((1, -3, 8), 1):
        yield (batch, size[1], *(each + more for each in size[2:]))
        for axis in range(2, len(size)):
            yield (*size[:axis], size[axis] + more, *size[axis + 1 :])


@pytest.mark.parametrize(("origin", "name"), grouped(CASES), ids=str)
def test_output_has_the_size_of_the_input(origin, name):
    net, size = net_on(origin, name)
    net.eval()
    sizes = [size] if name in ONE_SIZE else [size, *sizes_beside(size)]
    with torch.no_grad():
        for each in sizes:
            assert net(torch.rand(each)).shape == (each[0], 2, *each[2:])


@pytest.mark.parametrize(("origin", "name"), grouped(CASES), ids=str)
def test_all_parameters_but_the_unused_are_trained(origin, name):
    net, size = net_on(origin, name)
    net.train(name not in EVALUATED).zero_grad()
    net(torch.rand(2, *size[1:])).square().mean().backward()
    without = {path for path, each in net.named_parameters() if each.grad is None}
    assert without == set(net.unused)


@pytest.mark.parametrize(("origin", "name"), grouped(CASES), ids=str)
def test_each_level_is_smaller_than_the_one_before(origin, name):
    net, size = net_on(origin, name)
    maps = [*net.skips, net.deepest]
    assert len(maps) > 1
    sizes = [torch.Size(each.size).numel() for each in maps]
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[0] <= torch.Size(size[2:]).numel()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.together(n)) for n in COMMON])
def test_channels_are_those_that_timm_names(name):
    timm = import_timm()
    net = unet(timm.create_model(name), SIZE, 2)
    named = timm.create_model(name, features_only=True).feature_info.channels()
    found = [each.channels for each in (*net.skips, net.deepest)]
    assert (found == named) == (name not in OTHER_CHANNELS)
    assert found == OTHER_CHANNELS.get(name, named)


def test_maps_of_resnet_are_bit_equal_to_timms_features():
    timm = import_timm()
    features = timm.create_model("resnet18", features_only=True).eval()
    encoder = timm.create_model("resnet18").eval()
    encoder.load_state_dict(features.state_dict(), strict=False)
    net = unet(encoder, SIZE, 2)
    x, heard = torch.rand(SIZE), []
    for skip in (*net.skips, net.deepest):
        module = encoder.get_submodule(skip.path)
        module.register_forward_hook(lambda *passed: heard.append(passed[-1]))
    with torch.no_grad():
        maps = features(x)
        net(x)
    assert len(heard) == len(maps) == 5
    assert all(torch.equal(one, other) for one, other in zip(heard, maps, strict=True))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_vision_transformer_is_refused_by_the_layer_that_works_on_tokens(name):
    encoder = import_timm().create_model(name)
    with pytest.raises(ValueError, match=r"layer 'patch_embed.*layer 'blocks\.0\.attn") as caught:
        unet(encoder, (1, 3, 224, 224), 2)
    assert "take an encoder that returns" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "runs"), [("dla34", (2, 3, 128, 160)), ("vit_tiny_patch16_224", (2, 3, 224, 224))]
)
def test_size_that_the_encoder_refuses_is_answered_with_one_that_it_takes(name, runs):
    encoder = import_timm().create_model(name).eval()
    with pytest.raises(ValueError, match=r"input_size=\(2, 3, 97, 131\)") as caught:
        unet(encoder, SIZE, 2)
    assert f"It takes input_size={runs}" in str(caught.value)
    with torch.no_grad():
        encoder(torch.rand(runs))


def test_backbone_with_a_pyramid_is_joined_at_its_maps():
    import_torchvision()
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    net = unet(body, SIZE, 2).eval()
    assert [each.channels for each in (*net.skips, net.deepest)] == [256] * 5
    with torch.no_grad():
        for each in (SIZE, *sizes_beside(SIZE)):
            assert net(torch.rand(each)).shape == (each[0], 2, *each[2:])


def test_unet_takes_no_more_than_twice_the_time_of_the_capture():
    encoder = build("resnet50")
    capture(encoder, SIZE, None)
    times = []
    for make in (lambda: capture(encoder, SIZE, None), lambda: unet(encoder, SIZE, 2)):
        began = process_time()
        make()
        times.append(process_time() - began)
    assert times[1] <= 2 * times[0]
