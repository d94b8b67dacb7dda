"""The configuration of a run, as typed dataclasses: `Config` and its groups."""

from offalign.config.config import Config
from offalign.config.data import DataConfig
from offalign.config.grow import GrowConfig
from offalign.config.ptx import PtxConfig
from offalign.config.select import SelectConfig

__all__ = ["Config", "DataConfig", "GrowConfig", "PtxConfig", "SelectConfig"]
