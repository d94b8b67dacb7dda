"""Decoders give what transformers gives, and a mistake in one would show."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity needs offalign[parity]")
pytest.importorskip("transformers", reason="parity needs offalign[parity]")

import decoder_parity as parity  # noqa: E402
import torch_decoder  # noqa: E402
from decoder_cases import CASES  # noqa: E402

from offalign.evals.sampling import sample  # noqa: E402
from offalign.models import decoder_families  # noqa: E402
from offalign.models.hf_read import flatten  # noqa: E402

NEW = 12


@pytest.fixture(scope="module", params=list(CASES))
def name(request):
  return request.param


@pytest.fixture(scope="module")
def made(name):
  return parity.pair(name)


@pytest.fixture(scope="module")
def ours(made):
  """Our log-probs and gradients."""
  # Of what takes time here, most is the compiler's.
  fast = {"xla_backend_optimization_level": 0}
  return jax.jit(parity.gradients, static_argnums=0, compiler_options=fast)(
    made.model,
    made.params,
    parity.head(made.config.width),
    parity.batch(made.config.vocab_size, "left"),
  )


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits(name, made, side):
  batch = parity.batch(made.config.vocab_size, side)
  assert parity.error(name, made.forward(made.params, batch)) <= 1e-4
  assert max(np.abs(x).max() for y in parity.their_logits(name) for x in y) > 3


@pytest.mark.parametrize(
  ("name", "mistake"),
  [(name, mistake) for name, case in CASES.items() for mistake in case.wrong],
)
def test_mistakes_show(name, mistake):
  assert parity.mistaken(name, CASES[name].wrong[mistake]) > 1e-4


def their_logps(made):
  prompts, completions = parity.rows(made.config.vocab_size)
  return torch.stack(
    [
      torch.stack([torch_decoder.logp(made.theirs, x, y) for y in ys])
      for x, ys in zip(prompts, completions, strict=True)
    ]
  )


def test_logps(made, ours):
  with torch.no_grad():
    expected = their_logps(made).numpy()
  np.testing.assert_allclose(ours["logps"], expected, atol=1e-4)


def check_gradients(made, loss, ours):
  """Holds every leaf against torch's, at the scale of the leaf."""
  made.theirs.zero_grad()
  loss.backward()
  ours = flatten(ours)
  theirs = torch_decoder.gradients(
    made.theirs,
    decoder_families.weight_map(made.config),
    {path: leaf.shape for path, leaf in ours.items()},
  )
  for named in ("embedding/table", "layers/query/kernel"):
    assert np.abs(theirs[named]).max() > 1e-3
  for path, expected in theirs.items():
    largest = np.abs(expected).max()
    np.testing.assert_allclose(
      ours[path], expected, atol=1e-4 * max(largest, 1), err_msg=path
    )


def test_gradients_of_dpo(made, ours):
  reference = torch.tensor(
    parity.batch(made.config.vocab_size, "left").ref_logps
  )
  ratios = their_logps(made) - reference
  margin = parity.BETA * (ratios[:, 0] - ratios[:, 1])
  loss = -torch.nn.functional.logsigmoid(margin).mean()
  check_gradients(made, loss, ours["dpo"])


def test_gradients_of_dro_v(made, ours):
  batch = parity.batch(made.config.vocab_size, "left")
  head = parity.head(made.config.width)
  prompts, _ = parity.rows(made.config.vocab_size)

  def residual(logps, values):
    ratios = logps - torch.tensor(batch.ref_logps)
    rewards = torch.tensor(batch.rewards)
    return rewards - values[:, None] - parity.TAU * ratios

  def values():
    states = [torch_decoder.state(made.theirs, x) for x in prompts]
    return torch.stack(states) @ torch.tensor(head["kernel"]) + float(
      head["bias"]
    )

  with torch.no_grad():
    fixed_logps, fixed_values = their_logps(made), values()
  # The policy's gradient is that of equation 4 over tau, the value's its own.
  policy = residual(their_logps(made), fixed_values).square().mean() / 2
  check_gradients(made, policy / parity.TAU, ours["dro_v"]["policy"])
  value = residual(fixed_logps, values()).square().mean() / 2
  found = ours["dro_v"]["value"]["trunk"]
  made.theirs.zero_grad()
  value.backward()
  theirs = torch_decoder.gradients(
    made.theirs,
    {
      path: source
      for path, source in decoder_families.weight_map(made.config).items()
      if path.startswith("layers/query/")
    },
    {path: leaf.shape for path, leaf in flatten(found).items()},
  )
  for path, expected in theirs.items():
    np.testing.assert_allclose(flatten(found)[path], expected, atol=1e-4)


def test_greedy_generation(made):
  prompts, _ = parity.rows(made.config.vocab_size)
  batch = parity.batch(made.config.vocab_size, "left")
  end = 1
  with torch.no_grad():
    theirs = made.theirs.generate(
      torch.tensor(batch.prompts, dtype=torch.long),
      attention_mask=torch.tensor(batch.prompt_mask),
      max_new_tokens=NEW,
      do_sample=False,
      eos_token_id=end,
      pad_token_id=end,
    )[:, parity.P :].numpy()
  theirs = np.pad(
    theirs, ((0, 0), (0, NEW - theirs.shape[1])), constant_values=end
  )
  for side in ("left", "right"):
    batch = parity.batch(made.config.vocab_size, side)
    ours = sample(
      made.model,
      made.params,
      batch.prompts,
      batch.prompt_mask,
      seeds=np.zeros(len(prompts), np.int32),
      max_new_tokens=NEW,
      eos_id=end,
      temperature=0.0,
    )
    np.testing.assert_array_equal(ours.tokens, theirs)
    for x, tokens, mask, logp in zip(
      prompts, theirs, ours.mask, ours.logps, strict=True
    ):
      with torch.no_grad():
        real = tokens[np.asarray(mask)].tolist()
        expected = torch_decoder.logp(made.theirs, x, real)
      np.testing.assert_allclose(logp, expected, atol=1e-4)
