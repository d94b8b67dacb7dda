"""The layer contract: imports run one way, from the programs to the ground.

A room imports only rooms of lower layers, and rooms of one layer do not
import each other; an import in a function or under TYPE_CHECKING counts too.
"""

import ast
import graphlib
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
ENTRIES = {
  f"offalign.{name}"
  for name in (
    "__main__",
    "train",
    "generate",
    "judge",
    "export",
    "plan",
    "sweep",
    "audit.__main__",
    "leaderboard.__main__",
  )
}
# From top to bottom. Above them all is offalign/__init__.py, whose public
# names are imported when they are first used.
LAYERS = [
  "entries",
  "programs",
  "training compare estimation",
  "judges serving",
  "policy sweeping",
  "audit planning config reference testing leaderboard",
  "generation learner",
  "models",
  "losses distributed data endpoints pages statistics",
  "ground",
]
GROUND = (
  "types",
  "errors",
  "files",
  "spec",
  "lazy",
  "progress",
  "user_code",
)
LAYER = {room: i for i, line in enumerate(LAYERS) for room in line.split()}
# What a file imports against the rule, and why. The list only shrinks.
ALLOWED = {
  ("offalign.leaderboard.provenance", "offalign"): "for __version__",
}


def _name(path):
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[: -1 if parts[-1] == "__init__" else None])


FILES = {_name(path): path for path in (ROOT / "offalign").rglob("*.py")}


def _imports(module):
  """The modules of the project that a file imports, wherever in it."""
  for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      yield from (x.name for x in node.names if x.name in FILES)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{module}: write imports in full"
      for name in (f"{node.module}.{x.name}" for x in node.names):
        found = name if name in FILES else node.module
        if found in FILES:
          yield found


IMPORTS = {
  module: {x for x in _imports(module) if (module, x) not in ALLOWED}
  for module in FILES
  if module != "offalign"
}


def _room(module):
  name = module.split(".")[1] if "." in module else ""
  if module in ENTRIES:
    return "entries"
  return "ground" if name in GROUND else name


def _order(graph):
  """Raises where the graph has a circle; its message names the members."""
  graphlib.TopologicalSorter(graph).prepare()


def test_every_room_has_a_layer():
  unknown = {_room(module) for module in IMPORTS} - set(LAYER)
  assert not unknown, f"say in LAYERS of {__file__} where they are"


def test_no_import_goes_up():
  wrong = [
    f"{module} imports {other}"
    for module, others in IMPORTS.items()
    for other in others
    if _room(other) != _room(module)
    and LAYER.get(_room(other), -1) <= LAYER[_room(module)]
  ]
  assert not wrong, wrong


def test_exceptions_are_still_needed():
  for module, other in ALLOWED:
    assert other in _imports(module), f"{module} no longer needs its exception"


def test_there_is_no_circle_between_files_or_rooms():
  _order(IMPORTS)
  # In every folder, also between what lies in it: data.views and data.text.
  for folder in {x.rpartition(".")[0] for x in FILES if x.count(".") > 1}:
    inside = f"{folder}."
    graph = {}
    for module, others in IMPORTS.items():
      if module.startswith(inside):
        names = {x[len(inside) :] for x in others if x.startswith(inside)}
        name = module[len(inside) :].partition(".")[0]
        graph.setdefault(name, set()).update(
          {x.partition(".")[0] for x in names} - {name}
        )
    _order(graph)


def test_layers_and_files_at_the_root_stay_few():
  assert len(LAYERS) <= 10
  assert len(list((ROOT / "offalign").glob("*.py"))) <= 16


def test_reading_the_audit_and_the_leaderboard_need_no_jax():
  rooms = ("data.reading", "data.text", "data.example", "audit", "leaderboard")
  names = [
    module
    for module in sorted(FILES)
    if any(f"{module}.".startswith(f"offalign.{room}.") for room in rooms)
    and module not in ENTRIES
  ]
  code = f"import sys, {', '.join(['offalign.data', *names])}; " + (
    "print(*{'jax', 'flax', 'orbax'} & set(sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
