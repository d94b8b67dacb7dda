"""The mesh that is chosen by bytes."""

import pytest

from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.planning import auto, meshes

GB = 1e9


def choose(state, devices, limit=16 * GB, batch=None, heads=8):
  """The choice for a state of so many bytes, which any mesh divides."""

  def objection(mesh):
    if (batch or devices) % (mesh.data * mesh.fsdp):
      return "the batch"
    return "the heads" if heads % mesh.tensor else None

  return auto.choose(
    lambda mesh: int(state / (mesh.fsdp * mesh.tensor)),
    devices,
    limit,
    objection,
  )


@pytest.mark.parametrize("devices", [16, 64, 256, 1024])
def test_more_devices_are_more_copies_of_a_state_that_is_split_alike(devices):
  chosen = choose(30 * GB, devices).mesh
  assert chosen == MeshConfig(devices // 8, 8, 1)


@pytest.mark.parametrize(
  ("state", "devices", "batch", "spelled"),
  [
    (3.9 * GB, 8, 8, "data=8"),
    (4.1 * GB, 8, 8, "data=4,fsdp=2"),
    (100 * GB, 8, 8, "fsdp=8"),  # 12.5 GB: more than a share, but there
    (3 * GB, 8, 4, "data=4,tensor=2"),
    (30 * GB, 8, 2, "data=1,fsdp=2,tensor=4"),
    (50 * GB, 6, 6, "fsdp=6"),
    (1 * GB, 1, 8, "data=1"),
  ],
)
def test_a_copy_is_split_no_further_than_it_must_be(
  state, devices, batch, spelled
):
  chosen = choose(state, devices, batch=batch)
  assert chosen.mesh == meshes.parse(spelled, devices)
  assert ("leaves little" in str(chosen)) == (chosen.held > 4 * GB)


def test_what_has_no_room_or_no_mesh_is_refused():
  with pytest.raises(UserError, match=r"fsdp=8 it takes 25 of 16 GB"):
    choose(200 * GB, 8)
  with pytest.raises(UserError, match=r"no mesh of 8 .*: the batch"):
    choose(1 * GB, 8, batch=3, heads=2)
