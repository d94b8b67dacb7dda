"""Which engine samples: what is refused before any call."""

import pytest

from offalign.errors import UserError
from offalign.generation.endpoint.options import Engine, parse


def test_a_spec_is_read():
  made = parse(
    "endpoint(url='http://localhost:8000/v1/', model='m', workers=2)"
  )
  assert made == Engine("http://localhost:8000/v1/", "m", workers=2)
  assert made.target == "http://localhost:8000/v1/completions"


@pytest.mark.parametrize(
  ("text", "why"),
  [
    ("endpoint", "sampler 'endpoint' needs a url and a model"),
    ("endpiont(url='http://localhost', model='m')", "did you mean 'endpoint'"),
    ("endpoint(url='http://[', model='m')", "the url is no http"),
    ("endpoint(url='http://far.example/v1', model='m')", "unencrypted"),
    ("endpoint(url='https://u:p@far.example', model='m')", "SAMPLER_KEY"),
    ("endpoint(url='http://localhost', model='m', retries=-1)", "retries must"),
    ("endpoint(url='http://localhost', model='m', timeout=0)", "timeout must"),
    ("endpoint(url='http://localhost', model='m', logprobs=no)", "logprobs"),
    ("endpoint(url='http://localhost', model='m', batch=2)", "batch"),
    ("endpoint(", "sampler spec .* cannot be read"),
  ],
)
def test_it_is_refused(text, why):
  with pytest.raises(UserError, match=why):
    parse(text)
