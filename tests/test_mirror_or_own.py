"""What is compared with packages' own decoders starts alike, and is measured as its page says."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "examples" / "mirror_or_own"))

import pairs
import structure
import tables
import training


def test_the_tables_know_every_model_and_every_arm():
    assert {name: pair.kind for name, pair in pairs.PAIRS.items()} == tables.MODELS
    assert tuple(training.ARMS) == tables.ARMS


def test_all_arms_of_a_seed_start_from_one_encoder_and_see_the_same():
    trials = [
        training.Trial(training.Job("DCGAN", arm, seed), 3, "cpu", captured=False)
        for arm, seed in (("own", 4), ("mirror", 4), ("own", 5))
    ]
    first, same, other = [trial.model[0].state_dict() for trial in trials]
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert torch.equal(trials[0].picks, trials[1].picks)
    assert not torch.equal(trials[0].picks, trials[2].picks)


@pytest.mark.slow
@pytest.mark.parametrize("length", [64, 997, 1001, 1024])
def test_encodecs_padding_in_plain_integers_is_its_own(length):
    pairs.import_torchvision()
    import transformers

    config = transformers.EncodecConfig(num_filters=2, hidden_size=4, num_lstm_layers=1)
    model = transformers.EncodecModel(config).eval()
    x = torch.randn(2, 1, length)
    with torch.no_grad():
        before = model.encoder(x)
        pairs.fix_padding(model)
        assert torch.equal(model.encoder(x), before)


def test_the_reach_is_what_a_kernel_covers():
    up = nn.ConvTranspose1d(4, 1, 6, 2, 2)
    assert structure.reach(nn.Sequential(nn.Conv1d(1, 4, 2, 2), up), (1, 1, 64)) == [-2, 3, -32, 31]
    assert tables.reached([-2, 3, -32, 31]) == "6"
    assert tables.reached([-32, 31, -32, 31]) == "all"
    assert tables.reached([0, 31, -32, 31]) == "all that follows"


def test_layers_and_activations_are_counted_as_modules_and_as_functions():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.norm = nn.ConvTranspose1d(2, 4, 4, 2, 1), nn.GroupNorm(2, 4)
            self.last = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 1, 3, 1, 1))

        def forward(self, x):
            return self.last(nn.functional.silu(self.norm(nn.functional.silu(self.up(x)))))

    counts = {"transposed": 1, "convolutions": 1, "norms": 1}
    assert structure.count_layers(Decoder()) == counts
    assert structure.count_activations(Decoder(), torch.randn(1, 2, 8)) == {"SiLU": 2}


def test_quality_is_measured_on_a_scale_from_minus_one_to_one():
    wanted = torch.zeros(3, 3, 8, 8)
    shifted = nn.Sequential(nn.Identity(), nn.Hardtanh(0.02, 1))
    assert training.measure(shifted, "picture", wanted)["psnr"] == pytest.approx(40, abs=1e-3)
    sound = torch.randn(2, 1, 512)
    half = nn.Conv1d(1, 1, 1, bias=False)
    half.weight.data.fill_(0.5)
    told = training.measure(half, "sound", sound)
    assert told["snr"] == pytest.approx(6.0206, abs=1e-3)
    assert told["spectral"] == pytest.approx(0.6931, abs=1e-2)


def test_a_run_that_diverged_is_told_as_such():
    assert tables.spread([1.0, 3.0], 1) == "2.0 ± 1.0"
    assert tables.spread([1.0, float("nan")], 1) == "diverged"


def test_the_page_of_evidence_shows_the_tables_of_the_results():
    page = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text()
    start = page.index("## A mirror against the packages' own decoder")
    part = page[start : page.index("## A U-Net against another package")]
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    made = tables.compose(tables.read(tables.RESULTS)).splitlines()
    assert len(rows) > 40
    assert [row for row in rows if row not in made] == []
