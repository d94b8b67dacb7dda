"""Every turn of the assistant in a conversation as a completion of its own."""

import dataclasses

from offalign.data.reading.records import TOOLS, Message, Prompt, count
from offalign.data.views.feedback import Notes, Scored


def every_turn(items: list[Scored], notes: Notes) -> list[Scored]:
  """Parts conversations: what comes before a turn is the turn's prompt.

  A chat template then writes each turn as it did when the model was asked,
  with what it leaves out of earlier turns, such as their reasoning.

  Args:
    items: completions without feedback.
    notes: what is done is noted here.
  """
  found = []
  without = 0
  for item in items:
    for before, said in _earlier(item.prompt):
      if any(message.role != TOOLS for message in before):
        turn = dataclasses.replace(item, prompt=before, completion=said)
        found.append(turn)
      else:
        without += 1
    found.append(item)
  notes.add(
    f"every turn of the assistant: {count(len(found), 'turn')} of "
    f"{count(len(items), 'row')} of data, each a row of weight 1 whose prompt "
    "is what comes before it",
    turns=len(found),
  )
  if without:
    notes.add(
      f"{count(without, 'turn')} left out that nothing comes before",
      turns_left_out=without,
    )
  return found


def _earlier(prompt: Prompt) -> list[tuple[tuple[Message, ...], str]]:
  """The assistant's turns in a prompt, each with what comes before."""
  if isinstance(prompt, str):
    return []
  return [
    (prompt[:i], message.content)
    for i, message in enumerate(prompt)
    if message.role == "assistant"
  ]
