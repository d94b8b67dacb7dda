"""README.md of an exported folder: what its files cannot say to a program."""

from offalign.models.hf.token_settings import TokenIds

FILE = "README.md"


def of_adapter(base: str, ids: TokenIds, is_encoder_decoder: bool) -> str:
  """How a policy's adapter is loaded so that it stops as in training.

  `peft` reads no generation_config.json of an adapter's folder: a model that
  is made with one generates by the base model's.

  Args:
    base: name of the base model.
    ids: what ended completions in training.
    is_encoder_decoder: whether the base model is.
  """
  auto = "Seq2SeqLM" if is_encoder_decoder else "CausalLM"
  return f"""# A LoRA adapter

Completions ended in training at the token ids {list(ids.ends)}, as
`generation_config.json` says in this folder. `peft` generates by the base
model's file, so give it this one:

```python
from peft import PeftModel
from transformers import AutoModelFor{auto}, GenerationConfig

folder = "."  # this one
model = AutoModelFor{auto}.from_pretrained({base!r})
model = PeftModel.from_pretrained(model, folder)
model.generation_config = GenerationConfig.from_pretrained(folder)
```
"""


def of_rewards(ids: TokenIds, base: str | None) -> str:
  """How a reward model is loaded, and what a text to be scored is.

  Args:
    ids: the ids of the folder's files.
    base: name of the base model where the folder has an adapter alone.
  """
  imports = ""
  load = "model = AutoModelForSequenceClassification.from_pretrained(folder)"
  if base is not None:
    imports = "from peft import PeftModel\n"
    load = f"""\
model = AutoModelForSequenceClassification.from_pretrained(
  {base!r}, num_labels=1, pad_token_id={ids.pad}
)
model = PeftModel.from_pretrained(model, folder)"""
  return f"""# A reward model

The score of a reply is the single logit at the reply's last token. The token
that ends a reply, one of the ids {list(ids.ends)}, is not part of the text that
is scored, and padding goes to the right:

```python
{imports}from transformers import AutoModelForSequenceClassification
from transformers import AutoTokenizer

folder = "."  # this one
tokenizer = AutoTokenizer.from_pretrained(folder)
{load}
model.eval()
texts = [prompt + reply]
inputs = tokenizer(
  texts, padding=True, padding_side="right", return_tensors="pt"
)
scores = model(**inputs).logits[:, 0]
```

A conversation that ends with the reply becomes such a text by the chat
template, which then writes no end:

```python
inputs = tokenizer.apply_chat_template(
  [messages],
  continue_final_message=True,
  padding=True,
  return_dict=True,
  return_tensors="pt",
)
```
"""
