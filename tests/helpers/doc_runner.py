"""Runs the blocks of one page, which come as JSON, in one namespace."""

import json
import subprocess
import sys
import traceback


def main() -> int:
  """Runs until a block fails; says which."""
  namespace = {"__name__": "__main__"}
  for block in json.load(sys.stdin):
    try:
      if block["language"] == "python":
        # Line numbers of errors are those of the page.
        text = "\n" * block["line"] + block["text"]
        exec(compile(text, block["page"], "exec"), namespace)
      else:
        script = "\n".join(block["commands"])
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)
    except BaseException:
      traceback.print_exc()
      print(f"{block['page']}:{block['line']}: this block fails", flush=True)
      return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
