import numpy as np
import pytest
from PIL import Image

from zoo.data import folder

COLOURS = {'blue': (0, 0, 255), 'green': (0, 128, 0), 'red': (255, 0, 0)}


def write(path, image):
  path.parent.mkdir(parents=True, exist_ok=True)
  image.save(path)


def make(root, counts, suffix='.png', size=(12, 12)):
  for name, count in counts.items():
    for i in range(count):
      write(root / name / f'{i}{suffix}', Image.new('RGB', size, COLOURS[name]))
  return root


def one_line(error):
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.webp', '.gif', '.jpg', '.JPEG'])
def test_every_format_gives_pixels_and_label(tmp_path, suffix):
  make(tmp_path, {'red': 2, 'blue': 3, 'green': 1}, suffix)
  (tmp_path / 'red' / 'notes.txt').write_text('no image')
  (tmp_path / 'red' / '._0.png').write_text('what a Mac leaves in archives')
  (tmp_path / '.cache').mkdir()
  records = folder.records(tmp_path, 'train', (8, 8))
  assert records.class_names == ('blue', 'green', 'red')
  assert records.num_classes == 3
  assert len(records) == 6
  for i in range(6):
    example = records[i]
    assert example['image'].shape == (8, 8, 3)
    assert example['image'].dtype == np.uint8
    colour = COLOURS[records.class_names[example['label']]]
    assert np.abs(example['image'].astype(int) - colour).max() <= 6  # lossy formats
    assert records.class_names[example['label']] in records.where(i)


def test_grey_is_the_luma(tmp_path):
  make(tmp_path, {'red': 1, 'green': 1})
  records = folder.records(tmp_path, 'train', (8, 8), channels=1)
  levels = {records[i]['label']: int(records[i]['image'][0, 0, 0]) for i in range(2)}
  assert levels == {0: 75, 1: 76}  # ITU-R 601: 0.587 * 128 and 0.299 * 255
  assert records[0]['image'].shape == (8, 8, 1)


def test_fit_cuts_the_centre_out_of_the_long_side():
  pixels = np.zeros((4, 12, 3), np.uint8)
  pixels[:, 4:8] = 200  # the middle third of a wide image
  assert (folder.fit(Image.fromarray(pixels), (4, 4), 3) == 200).all()
  tall = folder.fit(Image.fromarray(pixels.transpose(1, 0, 2)), (4, 4), 3)
  assert (tall == 200).all()
  wide = folder.fit(Image.fromarray(pixels), (4, 12), 3)
  np.testing.assert_array_equal(wide, pixels)


def test_exif_orientation_is_obeyed(tmp_path):
  pixels = np.zeros((8, 8, 3), np.uint8)
  pixels[:, :4] = 255  # the left half, which is on top after a turn to the right
  exif = Image.Exif()
  exif[0x0112] = 6
  for name in 'ab':
    (tmp_path / name).mkdir()
    Image.fromarray(pixels).save(tmp_path / name / 'x.png', exif=exif)
  image = folder.records(tmp_path, 'train', (8, 8), channels=1)[0]['image'][..., 0]
  np.testing.assert_array_equal(image, pixels[..., 0].T)


def test_transparency_is_white_and_16_bits_keep_their_upper_half():
  clear = Image.new('RGBA', (4, 4), (255, 0, 0, 0))
  assert (folder.fit(clear, (4, 4), 3) == 255).all()
  deep = Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
  assert (folder.fit(deep, (4, 4), 1) == 0x80).all()


def test_a_large_jpeg_decoded_at_reduced_scale_looks_the_same(tmp_path):
  y, x = np.mgrid[0:640, 0:800] / 100
  smooth = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1) * 100 + 128
  image = Image.fromarray(smooth.astype(np.uint8))
  image.save(tmp_path / 'x.jpg', quality=95)
  with Image.open(tmp_path / 'x.jpg') as opened:
    small = folder.fit(opened, (64, 80), 3).astype(int)
    assert opened.size == (200, 160)  # a quarter: still twice the pixels asked for
  assert np.abs(small - folder.fit(image, (64, 80), 3)).mean() < 1.5


def test_slices_share_the_classes_out_evenly_and_do_not_overlap(tmp_path):
  make(tmp_path, {'red': 40, 'blue': 20, 'green': 10})
  whole = folder.records(tmp_path, 'train', (8, 8))
  head = folder.records(tmp_path, 'train[:80%]', (8, 8))
  tail = folder.records(tmp_path, 'train[80%:]', (8, 8))
  assert [*head.paths, *tail.paths] == list(whole.paths)
  assert len(set(whole.paths)) == 70
  assert np.bincount(head.labels).tolist() == [16, 8, 32]
  assert np.bincount(tail.labels).tolist() == [4, 2, 8]
  # Hashed, not by name; and one file more moves at most one file per class across the boundary.
  red = [int(p.stem) for p in whole.paths if p.parent.name == 'red']
  assert red != sorted(red)
  write(tmp_path / 'red' / 'new.png', Image.new('RGB', (8, 8)))
  assert len(set(folder.records(tmp_path, 'train[:80%]', (8, 8)).paths) - set(head.paths)) <= 3


def test_order_does_not_depend_on_where_the_folder_is(tmp_path):
  names = []
  for place in ('here', 'there/deep'):
    root = make(tmp_path / place, {'red': 9, 'blue': 9})
    paths = folder.records(root, 'train', (8, 8)).paths
    names.append([path.relative_to(root) for path in paths])
  assert names[0] == names[1]


def test_split_subfolders_and_nested_images(tmp_path):
  make(tmp_path / 'train', {'red': 3, 'blue': 3})
  make(tmp_path / 'test', {'red': 2})
  write(tmp_path / 'train' / 'red' / 'images' / 'deep.png', Image.new('RGB', (8, 8)))
  assert len(folder.records(tmp_path, 'train', (8, 8))) == 7
  test = folder.records(tmp_path, 'test', (8, 8))
  assert list(test.labels) == [1, 1]  # red as in train, though blue has no folder
  assert len(folder.records(tmp_path, 'train[:50%]+test', (8, 8))) == 6
  with pytest.raises(
    ValueError, match=r"no split 'validation'; there is train \(7 examples\), test"
  ):
    folder.records(tmp_path, 'validation', (8, 8))
  make(tmp_path / 'test', {'green': 1})
  with pytest.raises(ValueError, match="class 'green' is not one of the classes in train"):
    folder.records(tmp_path, 'test', (8, 8))


def test_a_class_may_be_called_train(tmp_path):
  for name in ('train', 'bus'):
    write(tmp_path / name / '0.png', Image.new('RGB', (8, 8)))
  assert folder.records(tmp_path, 'train', (8, 8)).class_names == ('bus', 'train')


def test_missing_folder(tmp_path):
  with pytest.raises(ValueError) as error:
    folder.records(tmp_path / 'nothing', 'train', (8, 8))
  assert one_line(error) == f'{tmp_path}/nothing: no such folder of images'


def test_no_images(tmp_path):
  with pytest.raises(ValueError, match='no images in class folders'):
    folder.records(tmp_path, 'train', (8, 8))
  write(tmp_path / 'x.png', Image.new('RGB', (8, 8)))  # but in no class folder
  with pytest.raises(ValueError, match='no images in class folders'):
    folder.records(tmp_path, 'train', (8, 8))


def test_one_class(tmp_path):
  make(tmp_path, {'red': 2})
  with pytest.raises(ValueError) as error:
    folder.records(tmp_path, 'train', (8, 8))
  assert one_line(error) == f"{tmp_path}: only one class, 'red'; there must be two or more"


def test_empty_class_folder(tmp_path):
  make(tmp_path, {'red': 2, 'blue': 2})
  (tmp_path / 'green').mkdir()
  with pytest.raises(ValueError) as error:
    folder.records(tmp_path, 'train', (8, 8))
  assert one_line(error).startswith(f'{tmp_path}/green: no images')


def test_a_file_that_is_no_image_is_found_at_the_start(tmp_path):
  make(tmp_path, {'red': 2, 'blue': 2})
  (tmp_path / 'red' / '1.png').write_text('hello')
  with pytest.raises(ValueError) as error:
    folder.records(tmp_path, 'train', (8, 8))
  assert one_line(error) == f'{tmp_path}/red/1.png: cannot open this image: not an image'


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.bmp'])
def test_a_truncated_image_is_named_when_read(tmp_path, suffix):
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
  for name in 'ab':
    write(tmp_path / name / f'x{suffix}', Image.fromarray(noise))
  path = tmp_path / 'a' / f'x{suffix}'
  path.write_bytes(path.read_bytes()[:2000])
  with pytest.raises(ValueError) as error:
    records = folder.records(tmp_path, 'train', (8, 8))  # Pillow notices a short webp here
    for i in range(2):
      records[i]
  assert f'{path}: cannot' in one_line(error)


def test_channels_must_be_grey_or_rgb(tmp_path):
  with pytest.raises(ValueError, match='channels must be 1'):
    folder.records(tmp_path, 'train', (8, 8), channels=4)
