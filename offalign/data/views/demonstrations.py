"""Demonstrations from scored data: the best of n, or the top fraction."""

from offalign.data.reading.records import count
from offalign.data.views import feedback
from offalign.data.views.feedback import Notes, Scored


def best_of_n(
  items: list[Scored], n: int, seed: int, notes: Notes
) -> list[Scored]:
  """Takes the best of n completions of each prompt, drawn by the seed.

  Of equal ones the seed picks one. Nothing depends on the order of the data,
  but for the order of what is returned.

  Args:
    items: completions with rewards.
    n: completions to draw from each prompt; those that have fewer are left
      out. 0 = all that a prompt has.
    seed: draws.
    notes: what is done is noted here.
  """
  groups = feedback.group_by_prompt(items)
  enough = [group for group in groups if len(group) >= n]
  kept = []
  for group in enough:
    drawn = sorted(group, key=lambda item: feedback.lot(item, seed))
    kept.append(max(drawn[: n or None], key=lambda item: item.value))
  used = sum(len(group) for group in enough)
  drawn_from = f"of {n} drawn completions" if n else "of all completions"
  notes.add(
    f"best-of-n: the best {drawn_from} of each prompt",
    completions_not_best=used - len(kept),
  )
  few = len(groups) - len(enough)
  if few:
    notes.add(
      f"{count(few, 'prompt')} with fewer than {n} completions left out, with "
      f"{count(len(items) - used, 'completion')}",
      prompts_left_out=few,
      completions_left_out=len(items) - used,
    )
  return kept


def top_fraction(
  items: list[Scored], fraction: float, seed: int, notes: Notes
) -> list[Scored]:
  """Takes the share of all completions that has the highest rewards.

  Among equal rewards at the cut the seed picks, whatever their order.

  Args:
    items: completions with rewards.
    fraction: of the completions, rounded, at least one; in (0, 1).
    seed: draws.
    notes: what is done is noted here.
  """
  size = max(round(fraction * len(items)), 1)

  def rank(i: int) -> tuple[float, tuple[bytes, float]]:
    return -items[i].value, feedback.lot(items[i], seed)

  order = sorted(range(len(items)), key=rank)
  kept = [items[i] for i in sorted(order[:size])]
  cut = items[order[size - 1]].value
  equal = sum(item.value == cut for item in items)
  equal_kept = sum(item.value == cut for item in kept)
  notes.add(
    f"demonstrations: the top {size:,} of {count(len(items), 'completion')}, "
    f"with rewards of {cut:.6g} or more",
    completions_below_top=len(items) - size,
  )
  if equal_kept < equal:
    notes.add(
      f"{equal_kept:,} of {equal:,} completions with a reward of just "
      f"{cut:.6g} are among them, drawn by the seed",
      ties_at_cut=equal,
    )
  return kept
