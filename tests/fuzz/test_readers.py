"""Mutants of valid files: each reader accepts them or says why not.

A mutant ends in success, or in a `UserError` of a sentence or two: in no other
exception, in no hang, with nothing printed, and in less than a GiB. What is
accepted means what it says, by another way to read the same bytes.
"""

import collections

import bounded
import hypothesis
import mutants
import pytest
import readers
from hypothesis import strategies as st

pytestmark = [pytest.mark.fuzz, pytest.mark.slow]

SEED = 20260728  # of all mutants; --hypothesis-seed=N makes others
TENTH = 0.1


@pytest.fixture(scope="module")
def child():
  with bounded.Child("readers") as made:
    yield made


def _count(mutations, name):
  shares = {n: each.share for n, each in readers.READERS.items()}
  return max(round(mutations * shares[name] / sum(shares.values())), 10)


@pytest.mark.parametrize("name", readers.READERS)
def test_mutants_end_in_success_or_a_sentence(
  name, child, mutations, tmp_path, request, record_property
):
  seeds = readers.READERS[name].seeds(tmp_path / "seeds")
  counts, faults = collections.Counter(), {}
  worst = bounded.Outcome("", seconds=0, mib=0)
  for files in seeds:  # as they are, they are fine
    outcome = child.read(name, files)
    assert outcome.kind == "accepted", (outcome.text, outcome.where)

  def one(files):
    nonlocal worst
    outcome = child.read(name, files)
    counts[outcome.kind] += 1
    worst = max(worst, outcome, key=lambda x: x.mib)
    if outcome.kind == "fault":
      size = sum(map(len, files.values()))
      known = faults.get(outcome.where)
      if known is None or size < known[0]:
        faults[outcome.where] = size, files, outcome.text

  run = hypothesis.given(st.sampled_from(seeds).flatmap(mutants.mutants))(one)
  run = hypothesis.settings(
    max_examples=_count(mutations, name),
    deadline=None,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
  )(run)
  if request.config.getoption("--hypothesis-seed") is None:
    run = hypothesis.seed(SEED)(run)
  run()
  made = sum(counts.values())
  print(f"{name}: {made} mutants, {dict(counts)}, at most {worst.mib:.0f} MiB")
  assert not faults, _told(name, faults, tmp_path)
  # Of few mutants chance takes some: three standard errors of the share.
  chance = 3 * (TENTH * (1 - TENTH) * made) ** 0.5
  assert counts["accepted"] >= max(TENTH * made - chance, 1), counts


def _told(name, faults, folder):
  """The faults, with a folder for the smallest mutant of each."""
  lines = [f"{len(faults)} kinds of fault"]
  for number, (where, (_, files, text)) in enumerate(sorted(faults.items())):
    at = folder / f"fault-{number}"
    for file, content in files.items():
      path = at / file
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
    lines += [f"--- {name}: {where}; its files are in {at}", text[-1500:]]
  return "\n".join(lines)
