"""Decoder-only transformers: GPT-2, Llama, Mistral, Qwen, Gemma by switches."""

from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder

__all__ = ["Decoder", "DecoderConfig"]
