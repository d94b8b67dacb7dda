"""Keep compiled programs in a folder, for the next run with these shapes."""

import pathlib

import jax
from jax.experimental.compilation_cache import compilation_cache

from offalign.errors import UserError, option


def keep(folder: str | None) -> None:
  """Sets jax's cache of compiled programs to a folder.

  Raises:
    UserError: where the folder cannot be made.
  """
  if folder is None:
    return
  path = pathlib.Path(folder).expanduser().absolute()
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"{option('compile_cache', folder)} cannot be a folder: {error.strerror}"
    ) from None
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  compilation_cache.reset_cache()  # it may be in use already, elsewhere
