"""README.md of an exported folder."""

from offalign.models.hf.token_settings import TokenIds
from offalign.policy import card

IDS = TokenIds(ends=(1, 3), pad=0, bos=None, foreign=False)


def test_an_adapter_names_its_base_and_its_ends():
  text = card.of_adapter("org/base", IDS, is_encoder_decoder=False)
  assert "token ids [1, 3]" in text
  assert "AutoModelForCausalLM.from_pretrained('org/base')" in text
  text = card.of_adapter("org/t5", IDS, is_encoder_decoder=True)
  assert "AutoModelForSeq2SeqLM.from_pretrained('org/t5')" in text


def test_a_reward_model_says_what_it_scores():
  text = card.of_rewards(IDS, None)
  assert "one of the ids [1, 3], is not part of the text" in text
  assert "peft" not in text
  text = card.of_rewards(IDS, "org/base")
  assert "'org/base', num_labels=1, pad_token_id=0" in text
  assert "PeftModel.from_pretrained(model, folder)" in text
