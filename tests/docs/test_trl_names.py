"""The table of names for users of TRL holds losses and flags that exist."""

import re

import doc_pages
from absl import flags as absl_flags

from offalign import losses
from offalign.config import Config
from offalign.programs import flags

PAGE = (doc_pages.ROOT / "docs/guides/coming-from-trl.md").read_text()
ROW = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


def table(title):
  """The two columns of the table under a title, without its head."""
  section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
  return [row for row in ROW.findall(section) if "---" not in row[0]][1:]


def test_every_loss_is_registered():
  rows = table("A trainer is a loss")
  assert len(rows) > 20
  for _, ours in rows:
    for spec in CODE.findall(ours):
      losses.get(spec)


def test_what_is_written_out_is_no_default_of_ours():
  """So a reader can tell which numbers matter."""
  told = {"simpo(beta=2.0, gamma_beta_ratio=0.25)", "ld_dpo(alpha=0.5)"}
  told.add("f_dpo(divergence=js)")
  for _, ours in table("A trainer is a loss"):
    for spec in CODE.findall(ours):
      if spec not in told and "+" not in spec:
        assert str(losses.get(spec)) == spec


def test_every_flag_is_there():
  values = absl_flags.FlagValues()
  flags.define(Config, values=values)
  named = re.findall(r"--(cfg[.\w]+)", PAGE)
  assert len(set(named)) > 20
  assert not [name for name in named if name not in values]
