"""Crops around objects: what they show, and that the same draw crops alike."""

import pytest
import torch
from torch import Tensor

from mobilenets.archs import Size
from mobilenets.data import Augment, augment
from mobilenets.data.object_crops import object_crops
from mobilenets.errors import DataError
from mobilenets.tasks import Geometry
from mobilenets.tasks.geometry import Places

# A small box in a corner and a large one, and an image without any.
BOXES = torch.tensor([[[0.0, 0.0, 0.1, 0.1], [0.3, 0.2, 0.9, 0.9]], [[0.0] * 4] * 2])
THERE = torch.tensor([[True, True], [False, False]])
MANY = Places(BOXES.repeat(200, 1, 1), THERE.repeat(200, 1))


def crops(places: Places, seed: int = 0, **how: float | bool) -> Tensor:
    options = {"zoom": 1.0, "flip": False} | how
    return object_crops(places, generator=torch.Generator().manual_seed(seed), **options)


def windows(maps: Tensor) -> Tensor:
    """x1, y1, x2, y2 of the image (0 to 1) that each output shows."""
    ends = maps @ torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])  # (B, 2, 2 corners)
    ends = (ends + 1) / 2
    return torch.cat([ends.amin(dim=2), ends.amax(dim=2)], dim=1)


def test_every_crop_lies_in_the_image_and_shows_the_centre_of_an_object():
    seen = windows(crops(MANY))

    assert (seen >= -1e-6).all()
    assert (seen <= 1 + 1e-6).all()
    centres = (BOXES[0, :, :2] + BOXES[0, :, 2:]) / 2
    with_objects = seen[::2, None]
    inside = (centres > with_objects[..., :2]) & (centres < with_objects[..., 2:])
    assert inside.all(dim=2).any(dim=1).all()


def test_some_images_stay_whole_and_most_do_not():
    sides = (seen := windows(crops(MANY)))[:, 2:] - seen[:, :2]
    whole = (sides > 1 - 1e-6).all(dim=1)

    assert 0.1 < whole[::2].float().mean() < 0.7  # one overlap of seven, and where no crop suits
    assert (sides > 0.3 - 1e-6).all()
    assert (sides < 0.5).any()


def test_zoomed_out_images_lie_within_what_is_shown():
    seen = windows(crops(MANY, zoom=3.0))
    smaller = ((seen[:, 2:] - seen[:, :2]) > 1 + 1e-6).all(dim=1)

    assert 0.35 < smaller.float().mean() < 0.65
    assert (seen[smaller][:, :2] <= 1e-6).all()
    assert (seen[smaller][:, 2:] >= 1 - 1e-6).all()
    assert (seen[:, 2:] - seen[:, :2]).max() < 3 + 1e-6


def test_half_of_the_images_are_mirrored():
    assert 0.4 < (crops(MANY, flip=True)[:, 0, 0] < 0).float().mean() < 0.6


def test_the_same_draw_crops_alike():
    assert torch.equal(crops(MANY, seed=1), crops(MANY, seed=1))
    assert not torch.equal(crops(MANY, seed=1), crops(MANY, seed=2))


def test_images_of_which_none_has_a_box_are_cropped_too():
    none = Places(torch.zeros(50, 0, 4), torch.zeros(50, 0, dtype=torch.bool))

    assert (windows(crops(none)) != torch.tensor([0.0, 0.0, 1.0, 1.0])).any()


def test_pixels_move_as_the_geometry_says():
    """A white box on black: after the crop its pixels are where its corners went."""
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    image[:, :, 16:40, 8:56] = 255
    places = Places(torch.tensor([[[8 / 64, 16 / 64, 56 / 64, 40 / 64]]]), torch.tensor([[True]]))
    how = Augment(objects=True, zoom=2.0, colour=0)

    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        pixels, geometry = augment(image, Size(64, 64), how, generator=generator, places=places)

        corners = Geometry(geometry.maps).points(2 * places.corners[0].view(1, 2, 2) - 1)
        x, y = ((corners[0] + 1) * 32).sort(dim=0).values.clamp(0, 64).T.round().int().tolist()
        lit = pixels[0, 0] > 0.75  # what is outside the image is grey
        rows, columns = lit.any(dim=1).nonzero(), lit.any(dim=0).nonzero()
        assert abs(int(columns.min()) - x[0]) <= 1
        assert abs(int(columns.max()) + 1 - x[1]) <= 1
        assert abs(int(rows.min()) - y[0]) <= 1
        assert abs(int(rows.max()) + 1 - y[1]) <= 1


def test_grey_stays_grey_however_colours_turn():
    grey = torch.full((4, 3, 8, 8), 100, dtype=torch.uint8)
    how = Augment(colour=0, flip=False, saturation=0.5, hue_degrees=90)

    varied, _ = augment(grey, Size(8, 8), how, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(varied, torch.full_like(varied, 100 / 255), rtol=2e-3, atol=0)


def test_colours_turn_by_what_is_asked():
    red = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 200
    how = Augment(colour=0, flip=False, hue_degrees=60)

    varied, _ = augment(red, Size(8, 8), how, generator=torch.Generator().manual_seed(0))

    assert (varied[:, 1].amax(dim=(1, 2)) > 0.1).any()  # some lean to yellow
    assert (varied[:, 2].amax(dim=(1, 2)) > 0.1).any()  # some to magenta


@pytest.mark.parametrize(
    ("how", "wrong"),
    [({"zoom": 0.5}, "zoom must be at least 1"), ({"saturation": 2}, "saturation must be at")],
)
def test_what_cannot_be_varied_is_refused(how: dict[str, float], wrong: str):
    with pytest.raises(DataError, match=wrong):
        Augment(**how)
