"""What the suites of `benchmarks.run` share in handling their flags."""

import shlex
from collections.abc import Iterable, Sequence

from absl import flags

from offalign.errors import UserError


def command(names: Iterable[str]) -> str:
  """How to run this again, from the flags that were given."""
  words = " ".join(
    f"--{f.name}={f.value!r}"
    if set("( ") & set(str(f.value))
    else f"--{f.name}={f.value}"
    for f in (flags.FLAGS[n] for n in names)
    if f.present
  )
  return f"python -m benchmarks.run {words}".strip()


def of_row(
  suite: str,
  method: str,
  seed: int,
  model: str = "",
  *,
  select: bool = False,
  more: Sequence[str] = (),
) -> str:
  """How to make one row again: its method, with the seeds up to its own."""
  words = [f"--suite={suite}", f"--methods={shlex.quote(method)}"]
  words += [f"--model={model}"] if model else []
  words += [*more, f"--seeds={seed + 1}", *(["--select"] if select else [])]
  return " ".join(["python -m benchmarks.run", *words])


def refuse(names: Iterable[str], suite: str, choice: str = "") -> None:
  """Refuses flags that a suite would not look at.

  Args:
    names: of flags.
    suite: the suite.
    choice: the flag that leaves them without effect; "" for the suite.

  Raises:
    UserError: naming the flag.
  """
  for name in names:
    if flags.FLAGS[name].present:
      raise UserError(
        f"--{name} has no effect with {choice or f'--suite={suite}'}; leave "
        "it out"
      )
