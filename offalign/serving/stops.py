"""Cut a streamed text at the first of some texts, wherever they fall."""

from collections.abc import Sequence


class Stops:
  """Lets text through up to the first of some texts.

  Attributes:
    found: whether one of them has come.
  """

  def __init__(self, texts: Sequence[str]):
    """Takes the texts that end the stream; none are ever let through."""
    self._texts = tuple(texts)
    self._held = ""
    self.found = False

  def add(self, text: str, *, last: bool = False) -> str:
    """Takes the next piece of text; returns what may be shown by now.

    >>> stops = Stops(["END"])
    >>> stops.add("an E"), stops.add("nd is no EN"), stops.add("D, this is")
    ('an ', 'End is no ', '')

    Args:
      text: what follows the text before.
      last: whether nothing follows; what was held back is then returned.
    """
    if self.found:
      return ""
    whole = self._held + text
    places = [whole.find(stop) for stop in self._texts]
    places = [place for place in places if place >= 0]
    if places:
      self.found, self._held = True, ""
      return whole[: min(places)]
    keep = 0 if last else self._begun(whole)
    self._held = whole[len(whole) - keep :]
    return whole[: len(whole) - keep]

  def _begun(self, whole: str) -> int:
    """Length of the longest end of the text that begins one of the texts."""
    return max(
      (
        n
        for stop in self._texts
        for n in range(1, len(stop))
        if whole.endswith(stop[:n])
      ),
      default=0,
    )
