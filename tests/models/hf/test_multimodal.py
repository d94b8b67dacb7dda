"""A Gemma 3 for images and text is read as its text model."""

import json

import numpy as np
import pytest

from offalign.models.hf import decoder_families, multimodal

PUBLISHED = {
  "architectures": ["Gemma3ForConditionalGeneration"],
  "boi_token_index": 255999,
  "eoi_token_index": 256000,
  "eos_token_id": [1, 106],
  "image_token_index": 262144,
  "initializer_range": 0.02,
  "mm_tokens_per_image": 256,
  "model_type": "gemma3",
  "text_config": {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "model_type": "gemma3_text",
    "num_hidden_layers": 34,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
  },
  "torch_dtype": "bfloat16",
  "transformers_version": "4.50.0.dev0",
  "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
}


def test_what_the_file_leaves_out_is_the_text_models_default():
  own = multimodal.text_config(PUBLISHED)
  assert own["architectures"] == ["Gemma3ForCausalLM"]
  assert own["eos_token_id"] == [1, 106]
  config = decoder_families.from_hf(own)
  assert (config.heads, config.groups, config.head_dim) == (8, 4, 256)
  assert (config.width, config.layers) == (2560, 34)
  assert config.vocab_size == 262_208
  assert config.windows[:6] == (*[1024] * 5, None)
  assert config.tied


@pytest.mark.parametrize(
  "config", [{"model_type": "gemma3"}, {"model_type": "llama"}], ids=str
)
def test_any_other_config_is_as_it_was(config):
  assert multimodal.text_config(config) is config


def test_a_key_of_the_whole_that_matters_is_not_lost():
  more = PUBLISHED | {"new_kind_of_cap": 3}
  assert multimodal.text_config(more)["new_kind_of_cap"] == 3


def test_tensors_of_both_spellings_are_parted():
  text, images = multimodal.text_tensors(
    dict.fromkeys(
      (
        "language_model.model.norm.weight",
        "model.language_model.layers.0.x",
        "language_model.lm_head.weight",
        "lm_head.weight2",
        "vision_tower.a",
        "model.vision_tower.b",
        "multi_modal_projector.c",
        "other",
      )
    )
  )
  assert list(text) == [
    "model.norm.weight",
    "model.layers.0.x",
    "lm_head.weight",
    "lm_head.weight2",
    "other",
  ]
  assert multimodal.said("F", images) == (
    "F is a Gemma 3 for images and text: its text model is read, and 3 "
    "tensors are left alone (2 of vision_tower, 1 of multi_modal_projector); "
    "exports are the text model, Gemma3ForCausalLM"
  )


def test_what_transformers_writes_is_read_and_exported(tmp_path, capsys):
  torch = pytest.importorskip("torch", reason="needs offalign[parity]")
  transformers = pytest.importorskip("transformers", reason="likewise")
  from benchmarks import parity, parity_torch
  from offalign.models import hf

  torch.manual_seed(0)
  sizes = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2}
  config = transformers.Gemma3Config(
    text_config=sizes
    | {
      "vocab_size": 67,
      "num_attention_heads": 2,
      "num_key_value_heads": 1,
      "head_dim": 8,
      "sliding_window": 5,
      "pad_token_id": 0,
      "eos_token_id": 1,
    },
    vision_config=sizes
    | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    image_token_index=66,
    mm_tokens_per_image=4,
  )
  theirs = transformers.Gemma3ForConditionalGeneration(config)
  with torch.no_grad():
    for weight in theirs.parameters():
      weight.add_(0.2 * torch.randn_like(weight))
  theirs.eval().save_pretrained(tmp_path / "both")
  model, params = hf.load(tmp_path / "both")
  assert "tensors are left alone (" in capsys.readouterr().out
  rows = parity.batch(60)
  inside = transformers.Gemma3ForCausalLM(config.text_config)
  inside.model.load_state_dict(theirs.model.language_model.state_dict())
  inside.lm_head.load_state_dict(theirs.lm_head.state_dict())
  expected = [
    [y.detach().numpy() for y in row]
    for row in parity_torch.logits(inside.eval(), rows)
  ]
  assert parity.logit_error(model, params, rows, expected) <= 1e-4
  hf.save(tmp_path / "text", model, params, source=tmp_path / "both")
  about = json.loads((tmp_path / "text" / "config.json").read_text())
  assert about["architectures"] == ["Gemma3ForCausalLM"]
  again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "text")
  assert type(again).__name__ == "Gemma3ForCausalLM"
  found = parity_torch.logits(again.eval(), rows)
  for mine, own in zip(found, expected, strict=True):
    for a, b in zip(mine, own, strict=True):
      np.testing.assert_allclose(a.detach().numpy(), b, atol=1e-4)
