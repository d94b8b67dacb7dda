"""Run an audit: its options, the order of its parts, and the report."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from offalign.audit import methods_that_fit
from offalign.audit.checks import estimates, length_bias, rewards
from offalign.audit.checks.duplicates import Repeats
from offalign.audit.checks.equal_tokens import EqualRows, Place, leaks
from offalign.audit.checks.leakage import Leakage
from offalign.audit.checks.odd_texts import OddTexts
from offalign.audit.checks.outlying_margins import OutlyingMargins
from offalign.audit.checks.token_entries import TokenEntries
from offalign.audit.checks.tokens import Tokens
from offalign.audit.findings import SEVERITIES, Finding
from offalign.audit.methods_that_fit import Fit
from offalign.audit.scan.collector import Check, Collector
from offalign.audit.scan.entries import Spill, file_and_row, place
from offalign.audit.scan.excerpts import with_texts
from offalign.audit.scan.files import Scan, scan
from offalign.audit.statistics.facts import Facts, gather
from offalign.audit.statistics.measures import Measures
from offalign.data.batches.least_limits import causes
from offalign.data.reading import columns as columns_lib
from offalign.data.reading import paths
from offalign.data.reading.columns import ColumnMap
from offalign.data.reading.records import Record
from offalign.data.reading.sqlite_rows import Database
from offalign.data.text import tokenizer as tokenizer_lib
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import UserError, option


@dataclasses.dataclass(frozen=True)
class AuditConfig:
  """What to look at.

  Attributes:
    test: held-out data that must not share prompts with it, in any form.
    form: what the columns hold: "traj" (prompt, completion, reward), "label",
      "pairs", "groups", "sft", "messages", "ultrafeedback", "sharegpt",
      "alpaca", "steps" or "stepwise"; default: told by their names.
    int_labels: take the numbers 0 and 1 for labels.
    columns: columns of other names that are read as those of the form, as
      data.columns of a run.
    tokenizer: "byte", or a tokenizer.json or a folder that holds one; without
      it nothing is said about tokens.
    max_prompt: limit in tokens, as the option data.max_prompt of a run.
    max_completion: limit in tokens, as data.max_completion of a run.
    template_vars: variables of the tokenizer's chat template, as
      data.template_vars of a run.
    methods: say which methods the data fit; this imports jax.
  """

  test: str | None = None
  form: str | None = None
  int_labels: bool = False
  columns: str | None = None
  tokenizer: str | None = None
  max_prompt: int | None = None
  max_completion: int | None = None
  template_vars: str | None = None
  methods: bool = True

  @property
  def mapped(self) -> ColumnMap:
    """The columns that are read by other names.

    Raises:
      UserError: where `columns` is not written as it should be.
    """
    return columns_lib.parse(self.columns)


@dataclasses.dataclass(frozen=True)
class Report:
  """Result of an audit.

  Attributes:
    path: of the data.
    scan: files, columns and rows that were read.
    seen: counts of the records.
    facts: what methods depend on; None where no row can be used.
    measures: the numbers; None where no row can be used.
    repeats: what occurs more than once; None where no row can be used.
    tokens: lengths in tokens, or None.
    equal: rows and prompts of equal tokens; None without a tokenizer.
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
  repeats: Repeats | None
  tokens: Tokens | None
  equal: EqualRows | None
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
  tokenizer = None
  if config.tokenizer is not None:
    tokenizer = tokenizer_lib.make(config.tokenizer)
    if config.template_vars is not None:
      tokenizer = tokenizer.with_template_vars(config.template_vars)
  with tempfile.TemporaryDirectory(prefix="offalign-audit-") as folder:
    return _audit(path, config, tokenizer, pathlib.Path(folder))


def _check(config: AuditConfig) -> None:
  if config.tokenizer == "bpe":
    raise UserError(
      f"{option('tokenizer', 'bpe')} is trained by a run; name the "
      "tokenizer.json that it wrote"
    )
  if config.template_vars is not None and config.tokenizer is None:
    raise UserError(
      f"{option('template_vars')} is for a tokenizer's chat template: give "
      f"{option('tokenizer')} too, or leave it out"
    )
  for name in ("max_prompt", "max_completion"):
    limit = getattr(config, name)
    if limit is None:
      continue
    if config.tokenizer is None:
      raise UserError(
        f"{option(name, limit)} counts tokens: give {option('tokenizer')} too, "
        "or leave it out"
      )
    if limit < 1:
      raise UserError(f"{option(name)} must be at least 1, not {limit}")


def _audit(
  path: str,
  config: AuditConfig,
  tokenizer: Tokenizer | None,
  folder: pathlib.Path,
) -> Report:
  entries, texts = Spill(folder / "data"), OddTexts()
  gaps = OutlyingMargins()
  in_tokens = Spill(folder / "data-tokens")
  tokens = equal = None
  if tokenizer is not None:
    tokens = _tokens(tokenizer, config, in_tokens)
  names: list[str] = []
  checks: list[Check] = [texts, gaps, *([tokens] if tokens else [])]
  seen = Collector(names, entries, checks)
  met = scan(
    path, config.form, config.int_labels, seen.see, names, config.mapped
  )
  if config.int_labels and met.form and "label" not in met.columns:
    raise UserError(
      f"{option('int_labels')} is set, but {path} has no column 'label' to "
      "read; leave it out"
    )
  entries.close()
  findings = [*met.findings, *texts.findings(), *gaps.findings()]
  if tokens is not None:
    tokens.flush()
    findings += tokens.findings()
  in_tokens.close()
  facts = measures = repeats = leakage = None
  if seen.rows:
    kind = "reward" if seen.rewards or not seen.labels else "label"
    measures = Measures(entries, seen.ranked, kind)
    facts = gather(seen, measures, texts.count("equal_pairs"))
    repeats = Repeats(entries, seen.ranked)
    findings += repeats.findings(_namer(names))
    longer, as_long = seen.longer, seen.as_long
    if tokenizer is not None:
      equal = EqualRows(in_tokens, seen.ranked)
      findings += equal.findings(
        _namer(names),
        Causes(path, config, tokenizer).why,
        is_rated=facts.feedback,
      )
      longer, as_long = equal.longer, equal.as_long
    unit = "tokens" if equal is not None else ""
    findings += rewards.findings(facts, measures)
    findings += rewards.outlying(facts, measures, _namer(names))
    findings += length_bias.findings(facts, measures, longer, as_long, unit)
    findings += estimates.findings(measures)
  if config.test is not None:
    other = None if tokenizer is None else Spill(folder / "test-tokens")
    leakage, more = _leakage(
      config, entries, names, folder, tokenizer, (in_tokens, other)
    )
    findings += more
  findings.sort(key=lambda found: SEVERITIES.index(found.severity))
  findings = _with_texts(findings, path, config, met)
  fits = methods_that_fit.fits(facts) if facts and config.methods else None
  return Report(
    path,
    met,
    seen,
    facts,
    measures,
    repeats,
    tokens,
    equal,
    leakage,
    tuple(findings),
    fits,
  )


def _leakage(
  config: AuditConfig,
  entries: Spill,
  names: list[str],
  folder: pathlib.Path,
  tokenizer: Tokenizer | None,
  in_tokens: tuple[Spill, Spill | None],
) -> tuple[Leakage, list[Finding]]:
  """Reads the test set and compares it with the training data."""
  assert config.test is not None
  other, other_names = Spill(folder / "test"), list[str]()
  train_tokens, test_tokens = in_tokens
  tokens = None
  if tokenizer is not None and test_tokens is not None:
    tokens = _tokens(tokenizer, config, test_tokens)
  seen = Collector(other_names, other, [tokens] if tokens else [])
  # A test set may be of another form, such as prompts with one reference.
  met = _scan_test(config, seen, other_names)
  other.close()
  leakage = Leakage(entries, other)
  found = leakage.findings(_namer(other_names), _namer(names))
  if tokens is not None and test_tokens is not None:
    tokens.flush()
    test_tokens.close()
    found += leaks(
      train_tokens, test_tokens, _namer(names), _namer(other_names)
    )
  return leakage, [*met.findings, *found]


def _tokens(
  tokenizer: Tokenizer, config: AuditConfig, entries: Spill
) -> Tokens:
  """Counts lengths, and fills entries with what is trained on."""
  limits = config.max_prompt, config.max_completion
  return Tokens(tokenizer, *limits, TokenEntries(entries, tokenizer, limits))


class Causes:
  """Says why completions are equal, after reading their texts again."""

  def __init__(self, path: str, config: AuditConfig, tokenizer: Tokenizer):
    """Takes what the audit was asked."""
    self._path, self._config, self._tokenizer = path, config, tokenizer

  def why(self, groups: Sequence[Sequence[Place]], is_sample: bool) -> str:
    """Returns the causes with marks; see `equal_tokens.Why`."""
    config = self._config
    wanted = {where for group in groups for where, _ in group}
    records: dict[int, Record] = {}

    def see(record: Record, file: int, row: int) -> None:
      if (where := place(file, row)) in wanted:
        records[where] = record

    scan(self._path, config.form, config.int_labels, see, [], config.mapped)
    found = causes(
      self._tokenizer,
      (
        [
          (
            records[where].prompt,
            records[where].completions[side] if side >= 0 else "",
          )
          for where, side in group
        ]
        for group in groups
      ),
    )
    return found.sentence(
      config.max_prompt, config.max_completion, is_sample=is_sample
    )


def _namer(names: list[str]) -> Any:
  def name(where: int) -> str:
    file, row = file_and_row(where)
    return f"{names[file]}, row {row}"

  return name


def _with_texts(
  findings: list[Finding], path: str, config: AuditConfig, met: Scan
) -> list[Finding]:
  """Adds the texts of the rows that are named; see `excerpts`."""
  files: dict[str, pathlib.Path | Database | str] = {}
  for each in (path, config.test):
    if each is not None:
      found = paths.find(each)
      for file in found.files or (str(found.hub),):
        files.setdefault(str(file), file)
  sources = {e.target: e.source for e in config.mapped.entries}
  shown = [sources.get(column, column) for column in met.columns]
  return with_texts(findings, files, dict.fromkeys(met.names, shown))


def _scan_test(config: AuditConfig, seen: Collector, names: list[str]) -> Scan:
  """Reads a test set: by the columns that are mapped, or by its own."""
  assert config.test is not None
  labels, mapped = config.int_labels, config.mapped
  met = scan(config.test, None, labels, seen.see, names, mapped)
  if met.form is None and mapped.entries:
    own: list[str] = []
    plain = scan(config.test, None, labels, seen.see, own)
    met = met if plain.form is None else plain
  return met
