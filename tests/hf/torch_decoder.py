"""What transformers computes: the reference, one sequence after another.

Nothing is padded here, so that padding cannot be wrong in the same way twice.
"""

import torch
import transformers

torch.set_num_threads(1)

from offalign.models.source import assemble, whole


def make(config, options, folder):
  """Writes a random checkpoint; returns the model, in eager float32."""
  config = getattr(transformers, config)(**options)
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(
    config, attn_implementation="eager"
  ).eval()
  generator = torch.Generator().manual_seed(1)
  with torch.no_grad():
    for p in model.parameters():
      noise = torch.randn(p.shape, generator=generator)
      if p.ndim == 1:  # norms and biases, which start at 1 and 0
        p.add_(0.2 * noise)
      else:
        p.copy_(0.25 * noise)
  model.save_pretrained(folder)
  return model


def logits(model, prompt, completion):
  """[T, V] that predict each token of a completion."""
  tokens = torch.tensor([[*prompt, *completion]])
  first = len(prompt) - 1
  return model(tokens).logits[0, first : first + len(completion)]


def logp(model, prompt, completion):
  """[] summed over the completion."""
  logps = torch.log_softmax(logits(model, prompt, completion), dim=-1)
  return logps.gather(1, torch.tensor(completion)[:, None]).sum()


def state(model, prompt):
  """[d] after the last norm, at the prompt's last token."""
  return model.base_model(torch.tensor([prompt])).last_hidden_state[0, -1]


def gradients(model, sources, shapes):
  """The gradients in our layout: path -> array, for a dict of shapes."""
  tensors = {
    name: p.grad.numpy()
    for name, p in model.named_parameters()
    if p.grad is not None
  }
  return {
    path: assemble(
      source,
      lambda name, index: tensors[name][index],
      whole(len(shapes[path])),
    )
    for path, source in sources.items()
  }
