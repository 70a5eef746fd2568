"""Autoencoders of public packages, from configurations: each encoder with its package's decoder.

All are small, keep their structure (residual units, several strides), and squeeze what they see
into a tenth or so of its numbers. Nothing is quantised and nothing drawn from the code.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from foreign import import_torchvision


@dataclass(frozen=True, slots=True)
class Pair:
    """An encoder and a decoder that belong together.

    Args:
        source: The package they come from.
        kind: "sound" or "picture".
        size: The input, batch and channels first.
        odd: Another size, which no stride divides.
        build: Returns both, with random weights.
        activation: What closes the package's decoder, and so the mirrors.
    """

    source: str
    kind: str
    size: tuple[int, ...]
    odd: tuple[int, ...]
    build: Callable[[], tuple[nn.Module, nn.Module]]
    activation: Callable[[], nn.Module] | None = None


def fix_padding(model: nn.Module) -> None:
    """Let the convolutions of Encodec and Mimi work out their padding in plain integers.

    They do it with tensors, whose values a CUDA graph cannot wait for.
    """
    for layer in model.modules():
        if hasattr(layer, "_get_extra_padding_for_conv1d"):
            for name in ("stride", "kernel_size", "padding_total"):
                value = int(getattr(layer, name))
                delattr(layer, name)
                setattr(layer, name, value)
            span, stride = layer.kernel_size - layer.padding_total, layer.stride
            layer._get_extra_padding_for_conv1d = partial(_complete, span, stride)


def _complete(span: int, stride: int, x: torch.Tensor) -> int:
    """Return what the last window lacks."""
    return (span - x.shape[-1]) % stride


def chain(**layers: nn.Module) -> nn.Sequential:
    """Return the layers one behind the other, by name."""
    return nn.Sequential(OrderedDict(layers))


def encodec() -> tuple[nn.Module, nn.Module]:
    """Return Encodec's SEANet with an LSTM on each side (Défossez et al. 2022), 32 times fewer."""
    import_torchvision()
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        num_filters=8, upsampling_ratios=[4, 4, 2], hidden_size=4, num_lstm_layers=1
    )
    model = EncodecModel(config)
    fix_padding(model)
    return model.encoder, model.decoder


def dac() -> tuple[nn.Module, nn.Module]:
    """Return DAC's halves (Kumar et al. 2023) with the projections of its first quantiser."""
    import_torchvision()
    from transformers import DacConfig, DacModel

    config = DacConfig(
        encoder_hidden_size=8,
        decoder_hidden_size=96,
        downsampling_ratios=[2, 4, 4],
        codebook_dim=4,
        n_codebooks=1,
    )
    model = DacModel(config)
    code = model.quantizer.quantizers[0]
    return (
        chain(encoder=model.encoder, code=code.in_proj),
        chain(code=code.out_proj, decoder=model.decoder),
    )


def mimi() -> tuple[nn.Module, nn.Module]:
    """Return Mimi's SEANet (Défossez et al. 2024) with the projections of a quantiser.

    Its transformers and its last downsampling lie outside of both halves.
    """
    import_torchvision()
    from transformers import MimiConfig, MimiModel

    config = MimiConfig(
        num_filters=8,
        upsampling_ratios=[4, 4, 2],
        hidden_size=64,
        vector_quantization_hidden_dimension=4,
        codebook_dim=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        num_quantizers=2,
        num_semantic_quantizers=1,
        codebook_size=16,
        upsample_groups=64,
    )
    model = MimiModel(config)
    fix_padding(model)
    down = getattr(model.encoder, "encoder_seanet", model.encoder)  # Newer versions wrap it.
    up = getattr(model.decoder, "decoder_seanet", model.decoder)
    code = model.quantizer.acoustic_residual_vector_quantizer
    return (
        chain(encoder=down, code=code.input_proj),
        chain(code=code.output_proj, decoder=up),
    )


def snac() -> tuple[nn.Module, nn.Module]:
    """Return SNAC's halves (Siuzdak 2024), depthwise, with the projections of its first quantiser.

    Without its noise, which no two runs would share, and without local attention.
    """
    import snac

    model = snac.SNAC(
        encoder_dim=8,
        encoder_rates=[2, 4, 4],
        decoder_dim=96,
        decoder_rates=[4, 4, 2],
        attn_window_size=None,
        codebook_size=16,
        codebook_dim=4,
        vq_strides=[1],
        noise=False,
    )
    code = model.quantizer.quantizers[0]
    return (
        chain(encoder=model.encoder, code=code.in_proj),
        chain(code=code.out_proj, decoder=model.decoder),
    )


def diffusers_kl() -> tuple[nn.Module, nn.Module]:
    """Return the halves of Stable Diffusion's autoencoder; of the code the mean alone."""
    import_torchvision()
    from diffusers.models.autoencoders.vae import Decoder, Encoder

    shared = {"block_out_channels": (16, 32, 32), "layers_per_block": 1, "norm_num_groups": 8}
    encoder = Encoder(3, 8, down_block_types=("DownEncoderBlock2D",) * 3, double_z=False, **shared)
    return encoder, Decoder(8, 3, up_block_types=("UpDecoderBlock2D",) * 3, **shared)


def diffusers_tiny() -> tuple[nn.Module, nn.Module]:
    """Return the halves of TAESD, the distilled autoencoder."""
    import_torchvision()
    from diffusers import AutoencoderTiny

    model = AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16, 16),
        decoder_block_out_channels=(16, 16, 16, 16),
        num_encoder_blocks=(1, 2, 2, 2),
        num_decoder_blocks=(2, 2, 2, 1),
        latent_channels=16,
    )
    return model.encoder, model.decoder


def monai_kl() -> tuple[nn.Module, nn.Module]:
    """Return the halves of MONAI's autoencoder, with what makes the mean of the code."""
    from monai.networks.nets import AutoencoderKL

    model = AutoencoderKL(
        spatial_dims=2,
        in_channels=3,
        out_channels=3,
        num_res_blocks=(1, 1, 1),
        channels=(16, 32, 32),
        attention_levels=(False, False, False),
        latent_channels=8,
        norm_num_groups=8,
    )
    return (
        chain(encoder=model.encoder, code=model.quant_conv_mu),
        chain(code=model.post_quant_conv, decoder=model.decoder),
    )


def monai_vqvae() -> tuple[nn.Module, nn.Module]:
    """Return the halves of MONAI's VQ-VAE (Tudosiu et al. 2022): residual units, strides of 2."""
    from monai.networks.nets import VQVAE

    model = VQVAE(
        spatial_dims=2,
        in_channels=3,
        out_channels=3,
        channels=(16, 32, 32),
        num_res_channels=(16, 32, 32),
        num_res_layers=2,
        embedding_dim=16,
    )
    return model.encoder, model.decoder


def dcgan() -> tuple[nn.Module, nn.Module]:
    """Return the discriminator of DCGAN (Radford et al. 2015) up to 100 numbers, and the generator.

    The architecture of the paper at an eighth of its width, weights drawn as there.
    """
    down: list[nn.Module] = [nn.Conv2d(3, 16, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for width in (16, 32, 64):
        down += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width)]
        down += [nn.LeakyReLU(0.2)]
    up: list[nn.Module] = [nn.ConvTranspose2d(100, 128, 4, 1, 0, bias=False)]
    for width in (128, 64, 32):
        up += [nn.BatchNorm2d(width), nn.ReLU()]
        up += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
    up += [nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1, bias=False)]
    halves = (
        nn.Sequential(*down, nn.Conv2d(128, 100, 4, 1, 0, bias=False)),
        nn.Sequential(*up, nn.Tanh()),
    )
    for layer in [each for half in halves for each in half]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.02)
    return halves


SOUND, ODD_SOUND = (16, 1, 1024), (1, 1, 1001)
PICTURE, ODD_PICTURE = (16, 3, 64, 64), (1, 3, 67, 65)


def _sound(source: str, build: Callable, activation: Callable | None = None) -> Pair:
    return Pair(source, "sound", SOUND, ODD_SOUND, build, activation)


def _picture(source: str, build: Callable, activation: Callable | None = None) -> Pair:
    return Pair(source, "picture", PICTURE, ODD_PICTURE, build, activation)


PAIRS: dict[str, Pair] = {
    "Encodec": _sound("transformers", encodec),
    "DAC": _sound("transformers", dac, nn.Tanh),
    "Mimi": _sound("transformers", mimi),
    "SNAC": _sound("snac", snac, nn.Tanh),
    "AutoencoderKL, diffusers": _picture("diffusers", diffusers_kl),
    "AutoencoderTiny": _picture("diffusers", diffusers_tiny),
    "AutoencoderKL, MONAI": _picture("monai", monai_kl),
    "VQ-VAE": _picture("monai", monai_vqvae),
    "DCGAN": _picture("its paper", dcgan, nn.Tanh),
}
