"""Models of the field that enlarge in other ways than those of ``models``, small, weights random.

Each has the sizes of its inputs and a word on what in it enlarges. Most are of packages, built from
their configurations; StyleGAN2 and those named ``written`` are written here after their papers,
since no package has them small.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup.inspecting.runs import quiet
from support import models, versions
from support.backbones import import_timm, import_torchvision


class Field(NamedTuple):
    """How a model is made, the size of its input or of each of them, and what in it enlarges."""

    make: Callable[[], nn.Module]
    size: Any
    enlarges: str


class Applied(nn.Module):
    """A model whose input or output is another than tensors: a function says how it is called."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *inputs):
        return self.call(self.model, *inputs)


def _transformers():
    import_torchvision()
    import transformers

    return transformers


def _diffusers():
    import_torchvision()
    import diffusers

    return diffusers


def _snac():
    from snac import SNAC

    return SNAC(
        encoder_dim=16, encoder_rates=[2, 4], decoder_dim=64, decoder_rates=[4, 2],
        attn_window_size=8, codebook_size=16, codebook_dim=4, vq_strides=[2, 1], noise=False,
    )  # fmt: skip


def _unet3d(upsample):
    from pytorch3dunet.unet3d.model import UNet3D

    return UNet3D(1, 2, f_maps=[8, 16, 32], num_groups=4, upsample=upsample)


def _score_sde():
    """Return an NCSN++, whose skips are enlarged by ``upfirdn2d``."""
    unet = _diffusers().UNet2DModel(
        sample_size=16, block_out_channels=(32, 32), norm_num_groups=4, layers_per_block=1,
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"), attention_head_dim=8,
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"), time_embedding_type="fourier",
    )  # fmt: skip
    return Applied(unet, lambda model, x: model(x, 10).sample)


def _dit():
    dit = _diffusers().DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, num_layers=1, sample_size=16,
        patch_size=2, num_embeds_ada_norm=10, norm_num_groups=4,
    )  # fmt: skip
    one = torch.tensor([1])
    return Applied(dit, lambda model, x: model(x, timestep=one, class_labels=one).sample)


def _deep_compression(block):
    return _diffusers().AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=4, encoder_block_types="ResBlock",
        decoder_block_types="ResBlock", encoder_block_out_channels=(8, 16),
        decoder_block_out_channels=(8, 16), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()), upsample_block_type=block, downsample_block_type="conv",
    )  # fmt: skip


def _dance_diffusion():
    unet = _diffusers().UNet1DModel(
        sample_size=64, in_channels=2, out_channels=2, extra_in_channels=64, layers_per_block=1,
        block_out_channels=(32, 32, 64),
    )  # fmt: skip
    return Applied(unet, lambda model, x: model(x, 10).sample)


class Synthesis(nn.Module):
    """StyleGAN2's synthesis network, with the filters that diffusers took over from it."""

    def __init__(self, channels=8, latent=8, levels=2):
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(latent, latent), nn.LeakyReLU(0.2))
        self.start = nn.Parameter(torch.randn(1, channels, 4, 4))
        sizes = (channels, channels, 3, 3)
        self.weights = nn.ParameterList(torch.randn(sizes) for _ in range(levels))
        self.styles = nn.ModuleList(nn.Linear(latent, channels) for _ in range(levels))
        self.to_rgb = nn.ModuleList(nn.Conv2d(channels, 3, 1) for _ in range(levels))
        self.register_buffer("taps", torch.tensor([1.0, 3.0, 3.0, 1.0]).outer(
            torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64)  # fmt: skip

    def forward(self, z):
        from diffusers.models.upsampling import upfirdn2d_native

        w, n = self.mapping(z), len(z)
        x, picture = self.start.expand(n, -1, -1, -1), None
        for weight, style, to_rgb in zip(self.weights, self.styles, self.to_rgb, strict=True):
            kernel = weight * style(w).add(1)[:, :, None, None, None]
            kernel = kernel * kernel.square().sum((1, 3, 4), keepdim=True).add(1e-8).rsqrt()
            x = x.reshape(1, -1, *x.shape[2:])
            x = F.conv_transpose2d(x, kernel.flatten(0, 1), stride=2, groups=n)
            x = F.leaky_relu(upfirdn2d_native(x, self.taps * 4, pad=(1, 1)), 0.2)
            x = x.view(n, -1, *x.shape[2:])
            made = to_rgb(x)
            if picture is not None:
                made = made + upfirdn2d_native(picture, self.taps * 4, up=2, pad=(2, 1))
            picture = made
        return picture


def _stylegan():
    _diffusers()
    return Synthesis()


def _mobile_vit():
    t = _transformers()
    return t.MobileViTV2ForSemanticSegmentation(
        t.MobileViTV2Config(
            image_size=64, width_multiplier=0.25, n_attn_blocks=[1, 1, 1], num_labels=3,
            aspp_out_channels=16,
        )
    )  # fmt: skip


def _volo():
    return import_timm().models.volo.VOLO(
        layers=[1, 1], img_size=32, embed_dims=[16, 16], num_heads=[2, 2], num_classes=4,
        downsamples=[True, False], outlook_attention=[True, False], stem_hidden_dim=8,
    )  # fmt: skip


def _raft(name):
    raft = getattr(import_torchvision().models.optical_flow, name)(weights=None)
    return Applied(raft, lambda model, *frames: model(*frames, num_flow_updates=2))


def _swin():
    t = _transformers()
    return t.SwinForMaskedImageModeling(
        t.SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4,
                     encoder_stride=8)
    )  # fmt: skip


def _swin2sr():
    t = _transformers()
    return t.Swin2SRForImageSuperResolution(
        t.Swin2SRConfig(image_size=16, embed_dim=8, depths=[1], num_heads=[1], window_size=4)
    )


def _mimi():
    t = _transformers()
    return t.MimiModel(
        t.MimiConfig(
            num_filters=4, hidden_size=16, upsampling_ratios=[4, 2], codebook_size=16,
            codebook_dim=8, vector_quantization_hidden_dimension=8, num_hidden_layers=1,
            intermediate_size=16, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
            num_quantizers=2, num_semantic_quantizers=1, upsample_groups=16,
        )
    )  # fmt: skip


def _univnet():
    t = _transformers()
    model = t.UnivNetModel(t.UnivNetConfig(
        model_in_channels=8, model_hidden_channels=8, num_mel_bins=8,
        kernel_predictor_hidden_channels=8,
    ))  # fmt: skip
    return Applied(model, lambda model, x, noise: model(x, noise_sequence=noise))


def _wav_tokenizer():
    t = _transformers()
    return t.WavTokenizerModel(
        t.WavTokenizerConfig(
            num_filters=4, upsampling_ratios=[4, 2], hidden_size=16, codebook_size=16,
            codebook_dim=16, decoder_hidden_size=32, decoder_intermediate_size=32,
            decoder_num_layers=1, num_lstm_layers=1,
        )
    )  # fmt: skip


def _quicknat():
    from monai.networks.nets import Quicknat

    return Quicknat(num_classes=2, num_channels=1, num_filters=8)


def _haar():
    """Return a multi-level wavelet CNN of one level."""
    from haar_pytorch import HaarForward, HaarInverse

    return nn.Sequential(HaarForward(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), HaarInverse())


def _glow():
    """Return Glow of two levels from latents to a picture."""
    import normflows

    flows, bases = normflows.flows, normflows.distributions
    levels = [
        [flows.GlowBlock(channels, 8), flows.Squeeze()]
        for channels in (8, 4)
    ]  # fmt: skip
    starts = [bases.DiagGaussian(size, trainable=False) for size in ((8, 2, 2), (2, 4, 4))]
    model = normflows.MultiscaleFlow(starts, levels, [flows.Merge()], class_cond=False)
    return Applied(model, lambda model, *z: model.forward_and_log_det([*z])[0])


def _exported(name):
    model, (size, *_) = models.build(name)
    return torch.export.export(model, (torch.randn(size),)).module()


def _quantised():
    """Return MONAI's auto-encoder in integers, by the workflow in which modules are replaced."""
    from torch.ao import quantization

    model, (size, *_) = models.build("monai AutoEncoder")
    model = quantization.QuantWrapper(model).eval()
    model.qconfig = quantization.QConfig(
        quantization.MinMaxObserver,
        quantization.default_weight_observer,
    )
    prepared = quantization.prepare(model)
    prepared(torch.randn(size))
    return quantization.convert(prepared)


def _quantised_graph():
    """Return MONAI's auto-encoder with simulated integers, by the workflow of exported graphs."""
    pt2e, xnnpack = versions.pt2e("quantize_pt2e"), versions.pt2e("xnnpack")
    model, (size, *_) = models.build("monai AutoEncoder")
    x = torch.randn(size)
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.set_global(xnnpack.get_symmetric_quantization_config())
    prepared = pt2e.prepare_pt2e(torch.export.export(model, (x,)).module(), quantizer)
    prepared(x)
    return pt2e.convert_pt2e(prepared)


class OutputSize(nn.Module):
    """3D U-Net that passes the size of its skip connection, as the paper's crops ask for."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv3d(i, o, 3, 2, 1) for i, o in ((1, 4), (4, 8)))
        self.up = nn.ModuleList(nn.ConvTranspose3d(i, o, 3, 2, 1) for i, o in ((8, 4), (4, 1)))

    def forward(self, x):
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.relu(layer(x))
        for layer in self.up:
            skip = skips.pop()
            x = layer(x, output_size=skip.shape[2:]) + skip
        return x


class SegNet(nn.Module):
    """SegNet of two levels: pixels go back to where the maxima were (Badrinarayanan 2017)."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 8), (8, 8)))
        self.up = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in ((8, 8), (8, 2)))

    def forward(self, x):
        places = []
        for layer in self.down:
            size = x.shape[2:]
            x, indices = F.max_pool2d(F.relu(layer(x)), 2, return_indices=True)
            places.append((indices, size))
        for layer in self.up:
            indices, size = places.pop()
            x = layer(F.max_unpool2d(x, indices, 2, output_size=size))
        return x


class Warped(nn.Module):
    """Video interpolation as its networks do it: flow at half size, both frames warped by it."""

    def __init__(self):
        super().__init__()
        self.flow = nn.Conv2d(6, 4, 3, 2, 1)
        self.refine = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, before, after):
        n, _, h, w = before.shape
        flow = F.interpolate(self.flow(torch.cat([before, after], 1)), size=(h, w), mode="bilinear")
        still = F.affine_grid(torch.eye(2, 3).repeat(n, 1, 1), [n, 3, h, w], align_corners=False)
        warped = [
            F.grid_sample(frame, still + part.permute(0, 2, 3, 1), align_corners=False)
            for frame, part in zip((before, after), flow.chunk(2, 1), strict=True)
        ]
        return self.refine(torch.cat(warped, 1))


class ThroughNumpy(nn.Module):
    """A decoder behind statistics that are taken in numpy."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 3, 2, 1), nn.ConvTranspose2d(4, 1, 3, 2, 1, 1)

    def forward(self, x):
        features = self.down(x).numpy()
        low, high = np.percentile(features, (1, 99))
        return self.up(torch.from_numpy(np.clip(features, low, high).astype(features.dtype)))


FIELD = {
    "snac SNAC": Field(
        _snac, (1, 1, 256), "transposed convolutions between scripted Snakes, repeated codes"
    ),
    "pytorch3dunet UNet3D": Field(
        lambda: _unet3d("nearest"), (1, 1, 9, 12, 16), "resizes to the size of the skip"
    ),
    "pytorch3dunet UNet3D deconv": Field(
        lambda: _unet3d("deconv"), (1, 1, 8, 12, 16), "transposed convolutions, resized again"
    ),
    "diffusers NCSN++": Field(_score_sde, (1, 3, 16, 16), "zeros put between pixels"),
    "diffusers DiT": Field(_dit, (1, 4, 16, 16), "patches laid out by einsum"),
    "diffusers DC-AE shuffle": Field(
        lambda: _deep_compression("pixel_shuffle"), (1, 3, 16, 16), "shuffles of repeated channels"
    ),
    "diffusers DC-AE resize": Field(
        lambda: _deep_compression("interpolate"), (1, 3, 16, 16), "a resize beside a shuffle"
    ),
    "diffusers Dance Diffusion": Field(
        _dance_diffusion, (1, 2, 64), "a fixed kernel by conv_transpose1d"
    ),
    "diffusers StyleGAN2": Field(_stylegan, (2, 8), "modulated transposed convolutions, upfirdn2d"),
    "transformers MobileViTV2": Field(
        _mobile_vit, (1, 3, 64, 64), "patches put back by fold, pooled features by a resize"
    ),
    "transformers SwinMIM": Field(_swin, (1, 3, 64, 64), "a shuffle by 8"),
    "transformers Swin2SR": Field(_swin2sr, (1, 3, 16, 16), "a shuffle"),
    "transformers Mimi": Field(_mimi, (1, 1, 1920), "grouped and cropped transposed convolutions"),
    "transformers UnivNet": Field(
        _univnet, [(1, 8, 8), (1, 8, 8)], "transposed convolutions, kernels that the input makes"
    ),
    "transformers WavTokenizer": Field(_wav_tokenizer, (1, 1, 640), "overlap-add by fold"),
    "timm VOLO": Field(_volo, (1, 3, 32, 32), "outlook attention, put back by fold"),
    "torchvision RAFT small": Field(
        lambda: _raft("raft_small"), [(1, 3, 128, 128)] * 2, "resized flow, sampled correlations"
    ),
    "torchvision RAFT": Field(
        lambda: _raft("raft_large"), [(1, 3, 128, 128)] * 2, "convex upsampling, a shuffle by hand"
    ),
    "monai QuickNAT": Field(_quicknat, (1, 1, 32, 32), "unpooling"),
    "monai AttentionUnet, exported": Field(
        lambda: _exported("monai AttentionUnet"), (1, 1, 16, 16), "operators of ATen alone"
    ),
    "monai AutoEncoder, quantised": Field(_quantised, (1, 1, 32, 32), "integers"),
    "monai AutoEncoder, quantised graph": Field(
        _quantised_graph, (1, 1, 32, 32), "operators of ATen between dequantised numbers"
    ),
    "haar_pytorch wavelet CNN": Field(_haar, (1, 3, 16, 16), "four pictures written side by side"),
    "normflows Glow": Field(_glow, [(1, 8, 2, 2), (1, 2, 4, 4)], "squeezes undone"),
    "written 3D U-Net with output_size": Field(OutputSize, (1, 1, 9, 12, 15), "output_size"),
    "written SegNet": Field(SegNet, (1, 3, 18, 21), "unpooling by function"),
    "written frame interpolation": Field(Warped, [(1, 3, 16, 16)] * 2, "frames that are warped"),
    "written decoder behind numpy": Field(ThroughNumpy, (1, 1, 16, 16), "what numpy hands back"),
}


def build(name):
    """Return a model of these or of ``models``, in evaluation mode, and the size of its input."""
    if name in models.BUILDERS:
        model, (size, *_) = models.build(name)
        return model, size
    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"), quiet():
        model = FIELD[name].make()
    for module in model.modules():  # An exported program's modules refuse ``eval``.
        module.training = False
    return model, FIELD[name].size
