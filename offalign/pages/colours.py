"""Colours that follow the page's light or dark scheme.

A drawing is made once, on white, and its colours become functions of the
page's variables: greys lie between ink and paper, and the others are lifted
towards white where the paper is dark.
"""

_INK = 0x1C  # the ink's lightness in the light scheme
_GREY = 6  # the most that channels differ by in a grey


def themed(colour: str) -> str:
  """Translates "#rrggbb" into CSS that depends on the page's scheme.

  Raises:
    ValueError: for another notation.
  """
  if len(colour) != 7 or not colour.startswith("#"):
    raise ValueError(f"{colour!r} is not #rrggbb")
  channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
  if max(channels) - min(channels) <= _GREY:
    share = min(1.0, (255 - sum(channels) / 3) / (255 - _INK))
    return f"color-mix(in srgb, var(--ink) {share * 100:.0f}%, var(--paper))"
  return f"color-mix(in srgb, {colour.lower()}, white var(--lift))"
