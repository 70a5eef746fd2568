"""Transposed convolutions solved for the two sizes one knows.

``AutoConvTranspose2d(in_channels, out_channels, in_size, out_size)`` is an
``nn.ConvTranspose2d`` whose kernel, stride, padding and output padding are chosen so that
the sizes meet and the overlap is even.
"""

from autoup import init
from autoup.auditing.model import audit
from autoup.auditing.report import AuditReport
from autoup.auditing.upsampling import Upsampling
from autoup.decoding.from_encoder import mirror_decoder
from autoup.decoding.from_sizes import decoder
from autoup.errors import ArtifactWarning, AutoupError, InfeasibleError, MirrorWarning
from autoup.layers.conv_transpose import (
    AutoConvTranspose1d,
    AutoConvTranspose2d,
    AutoConvTranspose3d,
)
from autoup.measuring.meter import GridMeasurement, measure_grid
from autoup.measuring.phases import is_icnr, phase_spread
from autoup.repairing.model import repair
from autoup.solving.ladders import Ladder, ladder
from autoup.solving.solution import Solution
from autoup.solving.solver import candidates, solve
from autoup.unets.model import unet
from autoup.unets.network import UNet

__all__ = [
    "ArtifactWarning",
    "AuditReport",
    "AutoConvTranspose1d",
    "AutoConvTranspose2d",
    "AutoConvTranspose3d",
    "AutoupError",
    "GridMeasurement",
    "InfeasibleError",
    "Ladder",
    "MirrorWarning",
    "Solution",
    "UNet",
    "Upsampling",
    "__version__",
    "audit",
    "candidates",
    "decoder",
    "init",
    "is_icnr",
    "ladder",
    "measure_grid",
    "mirror_decoder",
    "phase_spread",
    "repair",
    "solve",
    "unet",
]

__version__ = "0.1.0"
