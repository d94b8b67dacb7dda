"""Decoders that were new here, as `transformers` computes them."""

import jax
import numpy as np
import pytest

from offalign import models
from offalign.errors import UserError
from offalign.models import hf
from offalign.models.hf import decoder_families, own_decoder

V = 37
SPECS = [
  "decoder(width=16, layers=2, heads=2)",
  "decoder(width=24, layers=3, heads=3, mlp_ratio=2, tied=True)",
]


def parity():
  torch = pytest.importorskip("torch", reason="parity needs offalign[parity]")
  return torch, pytest.importorskip("transformers")


def logits(model, params, tokens):
  """Logits before each token but the first, [B, T - 1, V]."""
  head, rest = tokens[:, :1], tokens[:, None, 1:]
  hidden = jax.jit(model.hidden)(
    params, head, np.ones_like(head, bool), rest, np.ones_like(rest, bool)
  )
  return np.asarray(hidden.completions[:, 0] @ model.unembedding(params))


def tokens():
  return np.random.default_rng(0).integers(0, V, (2, 11)).astype(np.int32)


def agree(folder, model, params):
  torch, transformers = parity()
  theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
  with torch.no_grad():
    expected = theirs(torch.tensor(tokens().astype(np.int64))).logits
  found = logits(model, params, tokens())
  assert np.abs(found).max() > 1
  np.testing.assert_allclose(found, expected[:, :-1], atol=1e-4)
  return theirs


def noisy(model):
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32),
    model.init(jax.random.key(0)),
  )


@pytest.mark.parametrize("spec", SPECS)
def test_transformers_computes_the_same(spec, tmp_path):
  model = models.make(spec, vocab_size=V)
  config = own_decoder.to_hf(models.configure(spec, vocab_size=V))
  params = noisy(model)
  hf.write(tmp_path, config, model, params)
  theirs = agree(tmp_path, model, params)
  assert type(theirs).__name__ == "ArceeForCausalLM"
  again, read = hf.load(tmp_path)
  np.testing.assert_array_equal(
    logits(again, read, tokens()), logits(model, params, tokens())
  )


@pytest.mark.parametrize(
  ("spec", "said"),
  [
    (
      "decoder(positions=learned, max_positions=9)",
      r"has positions=learned, max_positions=9 with .* train one with "
      r"positions=rope to export it$",
    ),
    (
      "decoder(prefix_lm=True, positions=learned, max_positions=9)",
      r"train one with positions=rope and prefix_lm=False to",
    ),
    ("decoder(prefix_lm=True)", r"has prefix_lm=True with .*prefix_lm=False"),
  ],
)
def test_what_no_architecture_computes_is_refused(spec, said):
  with pytest.raises(UserError, match=said):
    own_decoder.to_hf(models.configure(spec, vocab_size=V))


def test_switches_of_checkpoints_are_refused_or_kept():
  """Fields that no spec sets: what is written is what is read, or nothing."""
  plain = decoder_families.DecoderConfig(vocab_size=V)
  for change in (
    {"gated": True},
    {"norm": "layer"},
    {"qk_norm": True},
    {"score_cap": 3.0},
    {"windows": (4,)},
    {"biases": ("query",)},
  ):
    config = decoder_families.DecoderConfig(vocab_size=V, **change)
    with pytest.raises(UserError, match=f"has {next(iter(change))}="):
      own_decoder.to_hf(config)
  for change in ({"kv_heads": 2}, {"activation": "silu"}, {"epsilon": 1e-3}):
    config = decoder_families.DecoderConfig(vocab_size=V, **change)
    assert own_decoder.to_hf(config) != own_decoder.to_hf(plain)


def test_published_arcees_are_read(tmp_path):
  torch, transformers = parity()
  torch.manual_seed(0)
  config = transformers.ArceeConfig(
    vocab_size=V,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    mlp_bias=True,
    attention_bias=True,
    bos_token_id=1,
    eos_token_id=2,
  )
  assert config.hidden_act == "relu2"
  theirs = transformers.ArceeForCausalLM(config)
  with torch.no_grad():
    for weight in theirs.parameters():
      weight.add_(0.3 * torch.randn_like(weight))
  theirs.save_pretrained(tmp_path)
  agree(tmp_path, *hf.load(tmp_path))
