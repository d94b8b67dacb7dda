"""What a process says of its own memory, whatever its parent held."""

import subprocess
import sys

_PARENT = (
  "import subprocess, sys; held = b'x' * (500 << 20); "
  "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
)


def beside_a_large_parent(code):
  """What Python code prints in a child of a process that holds 500 MiB."""
  command = [sys.executable, "-c", _PARENT, code]
  said = subprocess.run(command, check=True, capture_output=True, text=True)
  return said.stdout
