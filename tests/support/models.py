"""Models with upsampling heads that nobody here wrote: MONAI's and transformers', small.

Each builder returns a model in evaluation mode and input sizes, even and odd where it takes both.
"""

import warnings

import pytest
import torch

from support.backbones import import_torchvision


def _monai(build, *sizes):
    with warnings.catch_warnings(action="ignore"):
        import monai.networks.nets as nets

        return build(nets), sizes


def _transformers(build, *sizes):
    with warnings.catch_warnings(action="ignore"):
        import_torchvision()
        import transformers

        return build(transformers), sizes


def _unet(dims):
    size = (12,) * (dims - 1)
    return _monai(
        lambda nets: nets.UNet(dims, 1, 2, (4, 8, 16), (2, 2), num_res_units=1),
        (1, 1, *size, 16),
        (2, 1, *size, 36),
    )


def _auto_encoder():
    return _monai(
        lambda nets: nets.AutoEncoder(2, 1, 1, (4, 8, 16), (2, 2, 2)),
        (1, 1, 32, 32),
        (2, 1, 33, 47),
    )


def _dyn_unet():
    return _monai(
        lambda nets: nets.DynUNet(2, 1, 2, [3, 3, 3], [1, 2, 3], [2, 3]),
        (1, 1, 36, 36),
        (1, 1, 42, 54),
    )


def _seg_res_net():
    return _monai(lambda nets: nets.SegResNet(2, 8, 1, 2), (1, 1, 32, 32), (1, 1, 40, 56))


def _seg_res_net_deconv():
    return _monai(
        lambda nets: nets.SegResNet(2, 8, 1, 2, upsample_mode="deconv"),
        (1, 1, 32, 32),
        (1, 1, 40, 56),
    )


def _attention_unet():
    return _monai(
        lambda nets: nets.AttentionUnet(2, 1, 2, (4, 8, 16), (2, 2)), (1, 1, 16, 16), (1, 1, 36, 20)
    )


def _generator():
    return _monai(lambda nets: nets.Generator((7,), (2, 3, 5), (8, 4, 1), (2, 2, 1)), (1, 7))


def _segformer():
    def build(t):
        return t.SegformerForSemanticSegmentation(
            t.SegformerConfig(
                depths=[1] * 4,
                hidden_sizes=[8, 16, 24, 32],
                num_attention_heads=[1] * 4,
                decoder_hidden_size=16,
                num_labels=3,
            )
        )

    return _transformers(build, (1, 3, 64, 64), (1, 3, 67, 91))


def _vitmatte():
    def build(t):
        backbone = t.VitDetConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_channels=4,
            image_size=64,
            patch_size=16,
            out_features=["stage2"],
        )
        return t.VitMatteForImageMatting(
            t.VitMatteConfig(
                backbone_config=backbone,
                hidden_size=32,
                convstream_hidden_sizes=[8, 16, 24],
                fusion_hidden_sizes=[32, 16, 8, 4],
            )
        )

    return _transformers(build, (1, 4, 64, 64), (1, 4, 80, 112))


def _dpt():
    def build(t):
        return t.DPTForDepthEstimation(
            t.DPTConfig(
                hidden_size=32,
                num_hidden_layers=4,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=64,
                patch_size=16,
                backbone_out_indices=[0, 1, 2, 3],
                neck_hidden_sizes=[8, 8, 16, 16],
                fusion_hidden_size=16,
            )
        )

    return _transformers(build, (1, 3, 64, 64))


def _mask2former():
    def build(t):
        backbone = t.SwinConfig(
            embed_dim=8,
            depths=[1] * 4,
            num_heads=[1] * 4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        return t.Mask2FormerForUniversalSegmentation(
            t.Mask2FormerConfig(
                backbone_config=backbone,
                feature_size=32,
                mask_feature_size=32,
                hidden_dim=32,
                encoder_feedforward_dim=16,
                encoder_layers=1,
                num_attention_heads=2,
                dim_feedforward=16,
                decoder_layers=2,
                num_queries=4,
                num_labels=3,
            )
        )

    return _transformers(build, (1, 3, 128, 128), (1, 3, 131, 161))


def _encodec():
    def build(t):
        return t.EncodecModel(
            t.EncodecConfig(
                num_filters=4, hidden_size=16, codebook_size=16, codebook_dim=16, num_lstm_layers=1
            )
        )

    return _transformers(build, (1, 1, 3200), (1, 1, 3333))


def _dac():
    def build(t):
        return t.DacModel(
            t.DacConfig(
                encoder_hidden_size=8,
                decoder_hidden_size=32,
                downsampling_ratios=[2, 4, 5, 8],
                n_codebooks=2,
                codebook_size=16,
                codebook_dim=4,
            )
        )

    return _transformers(build, (1, 1, 3200), (1, 1, 3333))


def _hifigan():
    def build(t):
        return t.SpeechT5HifiGan(
            t.SpeechT5HifiGanConfig(model_in_dim=8, upsample_initial_channel=32)
        )

    return _transformers(build, (1, 20, 8), (1, 21, 8))


def _hifigan_normed():
    model, sizes = _hifigan()
    model.apply_weight_norm()
    return model, sizes


def _vits():
    def build(t):
        from transformers.models.vits.modeling_vits import VitsHifiGan

        return VitsHifiGan(t.VitsConfig(flow_size=8, upsample_initial_channel=32))

    return _transformers(build, (1, 8, 20), (1, 8, 21))


BUILDERS = {
    "monai UNet 1d": lambda: _unet(1),
    "monai UNet 2d": lambda: _unet(2),
    "monai UNet 3d": lambda: _unet(3),
    "monai AutoEncoder": _auto_encoder,
    "monai DynUNet": _dyn_unet,
    "monai SegResNet": _seg_res_net,
    "monai SegResNet deconv": _seg_res_net_deconv,
    "monai AttentionUnet": _attention_unet,
    "monai Generator": _generator,
    "transformers SegFormer": _segformer,
    "transformers VitMatte": _vitmatte,
    "transformers DPT": _dpt,
    "transformers Mask2Former": _mask2former,
    "transformers Encodec": _encodec,
    "transformers DAC": _dac,
    "transformers HiFi-GAN": _hifigan,
    "transformers HiFi-GAN, weight norm": _hifigan_normed,
    "transformers VITS HiFi-GAN": _vits,
}


def taken_from(library):
    """Mark what takes models from a library, whose import takes its time."""
    return lambda test: pytest.mark.slow(pytest.mark.together(library)(test))


def each(names=BUILDERS):
    """Return names of models as parameters, marked in the same way."""
    marks = [(pytest.mark.slow, pytest.mark.together(name.partition(" ")[0])) for name in names]
    return [pytest.param(name, marks=mark) for name, mark in zip(names, marks, strict=True)]


def build(name):
    """Return a model of that name, in evaluation mode, and its input sizes."""
    with warnings.catch_warnings(action="ignore"):
        torch.manual_seed(0)
        model, sizes = BUILDERS[name]()
    return model.eval(), sizes
