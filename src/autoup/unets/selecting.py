"""Which of an encoder's maps a decoder joins, as the user asks."""

from collections.abc import Sequence
from typing import Any

from autoup.unets.maps import FeatureMap, FeatureMaps


def select(
    maps: FeatureMaps, levels: Sequence[FeatureMap], skips: Any, *, image_skip: bool
) -> list[FeatureMap]:
    return [*levels]
