"""Audits a data set: numbers, findings, methods that fit."""

import dataclasses
import pathlib
import tempfile
from typing import Any

from offalign.audit import methods as methods_lib
from offalign.audit import spill
from offalign.audit.advice import advise, outlying
from offalign.audit.collect import Collector
from offalign.audit.facts import Facts, gather
from offalign.audit.findings import SEVERITIES, Finding
from offalign.audit.leakage import Leakage
from offalign.audit.measures import Measures
from offalign.audit.methods import Fit
from offalign.audit.odd_texts import OddTexts
from offalign.audit.scan import Scan, scan
from offalign.audit.spill import Spill
from offalign.audit.tokens import Tokens
from offalign.data.text import tokenizer as tokenizer_lib
from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class AuditConfig:
  """What to look at.

  Attributes:
    test: held-out data that must not share prompts with it, in any form.
    form: what the columns hold: "traj" (prompt, completion, reward), "label",
      "pairs", "groups", "sft", "messages" or "ultrafeedback"; default: told
      by their names.
    int_labels: take the numbers 0 and 1 for labels.
    tokenizer: "byte", or a tokenizer.json or a folder that holds one; without
      it nothing is said about tokens.
    max_prompt: limit in tokens, as --cfg.data.max_prompt of a run.
    max_completion: limit in tokens, as --cfg.data.max_completion of a run.
    methods: say which methods the data fit; this imports jax.
  """

  test: str | None = None
  form: str | None = None
  int_labels: bool = False
  tokenizer: str | None = None
  max_prompt: int | None = None
  max_completion: int | None = None
  methods: bool = True


@dataclasses.dataclass(frozen=True)
class Report:
  """Result of an audit.

  Attributes:
    path: of the data.
    scan: files, columns and rows that were read.
    seen: counts of the records.
    facts: what methods depend on; None where no row can be used.
    measures: the numbers; None where no row can be used.
    tokens: lengths in tokens, or None.
    leakage: prompts shared with the test set; None without one.
    findings: the worst first.
    methods: verdicts; None where they were not asked for, or no row can be
      used.
  """

  path: str
  scan: Scan
  seen: Collector
  facts: Facts | None
  measures: Measures | None
  tokens: Tokens | None
  leakage: Leakage | None
  findings: tuple[Finding, ...]
  methods: tuple[Fit, ...] | None

  def status(self, fail_on: str = "warning") -> int:
    """Exit status: 1 for a finding at least as severe as `fail_on`, else 0."""
    severe = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return int(any(found.severity in severe for found in self.findings))

  def count(self, severity: str) -> int:
    """Counts the findings of a severity."""
    return sum(found.severity == severity for found in self.findings)


def audit(path: str, config: AuditConfig | None = None) -> Report:
  """Audits data of any form.

  Args:
    path: as for `data.load`.
    config: what else to look at.

  Raises:
    UserError: for a mistake in what is asked; faults of the data are
      findings.
  """
  config = config or AuditConfig()
  _check(config)
  tokens = None
  if config.tokenizer is not None:
    tokens = Tokens(
      tokenizer_lib.make(config.tokenizer),
      config.max_prompt,
      config.max_completion,
    )
  with tempfile.TemporaryDirectory(prefix="offalign-audit-") as folder:
    return _audit(path, config, tokens, pathlib.Path(folder))


def _check(config: AuditConfig) -> None:
  if config.tokenizer == "bpe":
    raise UserError(
      "tokenizer 'bpe' is trained by a run; name the tokenizer.json that it "
      "wrote"
    )
  for name in ("max_prompt", "max_completion"):
    limit = getattr(config, name)
    if limit is None:
      continue
    if config.tokenizer is None:
      raise UserError(
        f"--{name} counts tokens: give --tokenizer too, or leave it out"
      )
    if limit < 1:
      raise UserError(f"--{name} must be at least 1, not {limit}")


def _audit(
  path: str,
  config: AuditConfig,
  tokens: Tokens | None,
  folder: pathlib.Path,
) -> Report:
  entries, texts = Spill(folder / "data"), OddTexts()
  names: list[str] = []
  seen = Collector(names, entries, texts, tokens)
  met = scan(path, config.form, config.int_labels, seen.see, names)
  if config.int_labels and met.form and "label" not in met.columns:
    raise UserError(
      f"int_labels is set, but {path} has no column 'label' to read; leave "
      "it out"
    )
  entries.close()
  findings = [*met.findings, *texts.findings()]
  if tokens is not None:
    tokens.flush()
    findings += tokens.findings()
  facts = measures = leakage = None
  if seen.rows:
    kind = "reward" if seen.rewards or not seen.labels else "label"
    measures = Measures(entries, seen.ranked, kind)
    facts = gather(seen, measures, texts.count("equal_pairs"))
    findings += measures.repeats.findings(_namer(names))
    findings += outlying(facts, measures, _namer(names))
    findings += advise(facts, measures, seen.longer, seen.as_long)
  if config.test is not None:
    leakage, more = _leakage(config, entries, names, folder)
    findings += more
  findings.sort(key=lambda found: SEVERITIES.index(found.severity))
  fits = methods_lib.fits(facts) if facts and config.methods else None
  return Report(
    path, met, seen, facts, measures, tokens, leakage, tuple(findings), fits
  )


def _leakage(
  config: AuditConfig,
  entries: Spill,
  names: list[str],
  folder: pathlib.Path,
) -> tuple[Leakage, list[Finding]]:
  """Reads the test set and compares it with the training data."""
  assert config.test is not None
  other, other_names = Spill(folder / "test"), list[str]()
  seen = Collector(other_names, other)
  # A test set may be of another form, such as prompts with one reference.
  met = scan(config.test, None, config.int_labels, seen.see, other_names)
  other.close()
  leakage = Leakage(entries, other)
  found = leakage.findings(_namer(other_names), _namer(names))
  return leakage, [*met.findings, *found]


def _namer(names: list[str]) -> Any:
  def name(where: int) -> str:
    file, row = spill.file_and_row(where)
    return f"{names[file]}, row {row}"

  return name
