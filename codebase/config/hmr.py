"""What an image-to-body network is where it takes over the encoder of the representation."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from codebase.config.image_pose import ENCODER_KEYS
from codebase.config.learning import EncDecConfig, HmrConfig
from codebase.errors import ConfigError


class HmrNetwork(HmrConfig):
    """The section, and the encoder's part of `enc_dec`: what a checkpoint says of a network with start: enc_dec."""

    encoder: dict[str, Any] = Field(description="of enc_dec, what shapes its encoder")

    @property
    def sees_background(self) -> bool:
        """Whether the encoder also sees its camera's empty scene."""
        return bool(self.encoder["encoder_background"])


def hmr_network(section: HmrConfig, enc_dec: EncDecConfig) -> HmrConfig:
    """What the network is, and no more: another schedule or loss of enc_dec leaves it alone; start: scratch knows none.

    Raises:
        ConfigError: the encoder of enc_dec is one of the papers', which give no stages.
    """
    if section.start == "scratch":
        return section
    if enc_dec.network != "ours":
        raise ConfigError(
            f"hmr.start is enc_dec, but enc_dec.network is {enc_dec.network}.", where="hmr.start",
            expected="enc_dec.network: ours, whose stages the network reads beside L_3d",
            mend="set hmr.start to scratch, or enc_dec.network to ours",
        )  # fmt: skip
    shape = enc_dec.model_dump(mode="json", include=set(ENCODER_KEYS)) | {"palette": 0}
    return HmrNetwork.model_validate(section.model_dump() | {"encoder": shape})
