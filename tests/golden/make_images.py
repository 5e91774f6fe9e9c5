"""Writes tests/golden/images: small images of many kinds and what Pillow and transformers make of them.

Needs numpy, pillow, torch, torchvision, transformers and safetensors. Run it in this folder: `python make_images.py`.
`expected.safetensors` holds, as 8-bit [H, W, 3], every image as Pillow decodes it (`decoded/<file>`, upright, on white) and
every preprocessor's crop of it before normalising (`<preprocessor>/<file>`), and in `values/<preprocessor>` the
normalised [3, H, W] of `photo.png`. `preprocessors.json` holds the preprocessors.
"""

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision.transforms.functional import center_crop
from transformers import BitImageProcessorPil, DeiTImageProcessorPil, ViTImageProcessorPil

OUT = Path(__file__).parent / "images"
PREPROCESSORS = {
    "vit-bilinear": dict(image_processor_type="ViTImageProcessor", size={"height": 32, "width": 32}, resample=2),
    "vit-integer": dict(feature_extractor_type="ViTFeatureExtractor", size=24, resample=3, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7]),
    "vit-oblong": dict(image_processor_type="ViTImageProcessor", size={"height": 16, "width": 40}, resample=1),
    "vit-box": dict(image_processor_type="ViTImageProcessorFast", size={"height": 9, "width": 9}, resample=4),
    "vit-hamming": dict(image_processor_type="ViTImageProcessor", size={"height": 20, "width": 20}, resample=5),
    "vit-no-rescale": dict(image_processor_type="ViTImageProcessor", size=16, do_rescale=False, do_normalize=False),
    "deit": dict(image_processor_type="DeiTImageProcessor", size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}),
    "deit-integers": dict(feature_extractor_type="DeiTFeatureExtractor", size=29, crop_size=24, resample=3),
    "bit": dict(image_processor_type="BitImageProcessor", size={"shortest_edge": 37}, crop_size={"height": 32, "width": 32}),
    "bit-integer": dict(image_processor_type="BitImageProcessor", size=33, crop_size=28, resample=2),
    "bit-edges": dict(image_processor_type="BitImageProcessor", size={"shortest_edge": 37, "longest_edge": 45}, crop_size={"height": 32, "width": 32}),
    "bit-padded": dict(image_processor_type="BitImageProcessor", size={"shortest_edge": 20}, crop_size={"height": 33, "width": 28}),
}
CLASSES = {"ViT": ViTImageProcessorPil, "DeiT": DeiTImageProcessorPil, "Bit": BitImageProcessorPil}


def photo(width, height, seed):
    """Smooth colour with detail: gradients, edges and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [127 + 90 * np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0.05, 0.9, (3, 3))]
    image = np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3))
    image[height // 3 : height // 2, width // 4 : width // 2] = rng.uniform(0, 255, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_png16(path, channels):
    """A PNG of 16 bits per channel, which Pillow reads and does not write; the low bytes are noise."""
    height, width, count = channels.shape
    low = np.random.default_rng(11).integers(0, 256, channels.shape)
    samples = (channels.astype(np.uint16) * 256 + low).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[count], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    framed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


def write_oddly_declared_jpegs(rgb):
    """JPEGs whose JFIF segment, Adobe's segment and names of components disagree, or of which some are missing."""
    rgb.save(OUT / "rgb-adobe.jpg", quality=92, keep_rgb=True)
    adobe = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00\x00"
    data = (OUT / "rgb-adobe.jpg").read_bytes()
    assert data.count(adobe) == 1
    (OUT / "rgb-names.jpg").write_bytes(data.replace(adobe, b""))
    (OUT / "rgb-names-ycc.jpg").write_bytes(data.replace(adobe, adobe[:-1] + b"\x01"))
    data = (OUT / "subsampled.jpg").read_bytes()
    (OUT / "jfif-adobe.jpg").write_bytes(data[:20] + adobe + data[20:])


def write_images():
    rgb = Image.fromarray(photo(61, 47, 1))
    rgb.save(OUT / "photo.png")
    rgb.save(OUT / "photo.bmp")
    rgb.save(OUT / "photo.tif")
    rgb.save(OUT / "lossless.webp", lossless=True)
    rgb.save(OUT / "photo.jpg", quality=92, subsampling=0)
    rgb.save(OUT / "subsampled.jpg", quality=88, subsampling=2)
    rgb.save(OUT / "progressive.jpg", quality=92, subsampling=0, progressive=True)
    write_oddly_declared_jpegs(rgb)
    Image.fromarray(photo(33, 80, 2)).save(OUT / "tall.png")
    Image.fromarray(photo(90, 31, 3)).save(OUT / "wide.png")
    Image.fromarray(photo(5, 7, 4)).save(OUT / "tiny.png")
    Image.fromarray(np.dstack([photo(40, 30, 5), photo(40, 30, 6)[..., :1]])).save(OUT / "alpha.png")
    Image.fromarray(photo(40, 30, 7)[..., 0]).save(OUT / "grey.png")
    Image.fromarray(photo(40, 30, 7)[..., 0]).save(OUT / "grey.jpg", quality=95)
    Image.fromarray(photo(40, 30, 7)[..., :2].copy(), "LA").save(OUT / "grey-alpha.png")
    rgb.quantize(32).save(OUT / "palette.png")
    rgb.quantize(32).save(OUT / "palette.gif")
    Image.fromarray((photo(40, 30, 8)[..., 0] > 128)).save(OUT / "bits.png")
    Image.fromarray(photo(40, 30, 9)).convert("CMYK").save(OUT / "cmyk.jpg", quality=95, subsampling=0)
    deep = photo(40, 30, 10)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(OUT / "grey16.png")
    write_png16(OUT / "rgb16.png", photo(20, 15, 12))
    write_png16(OUT / "rgba16.png", np.dstack([photo(20, 15, 13), photo(20, 15, 14)[..., :1]]))
    write_png16(OUT / "grey-alpha16.png", photo(20, 15, 15)[..., :2])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        rgb.save(OUT / f"exif-{orientation}.jpg", quality=92, subsampling=0, exif=exif)


def decoded(path):
    image = Image.open(path)
    if image.mode.startswith("I"):
        # Pillow's convert("RGB") clips 16 bits; the high byte is what every viewer shows.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    image = ImageOps.exif_transpose(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    # convert("RGB") would show the colour stored beneath, mostly black; every viewer shows white.
    white = Image.new("RGB", image.size, "white")
    image = image.convert("RGBA")
    white.paste(image, mask=image.getchannel("A"))
    return white


def run(settings, image, values):
    """[3, H, W]: resized by transformers on Pillow, cropped by torchvision, whose halves round to even."""
    settings = dict(settings)
    kind = settings.pop("image_processor_type", None) or settings.pop("feature_extractor_type")
    kind = CLASSES[kind.split("ImageProcessor")[0].split("FeatureExtractor")[0]](**settings)
    resized = kind(image, do_center_crop=False, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    if kind.do_center_crop:
        resized = center_crop(torch.from_numpy(resized), [kind.crop_size["height"], kind.crop_size["width"]]).numpy()
    resized = np.round(resized).astype(np.uint8)
    if not values:
        return resized
    picture = Image.fromarray(resized.transpose(1, 2, 0))
    return kind(picture, do_resize=False, do_center_crop=False, return_tensors="np")["pixel_values"][0].astype(np.float32)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    write_images()
    (OUT / "preprocessors.json").write_text(json.dumps(PREPROCESSORS, indent=1) + "\n")
    tensors = {}
    for path in sorted(OUT.glob("*.*")):
        if path.suffix == ".json":
            continue
        image = decoded(path)
        tensors[f"decoded/{path.name}"] = torch.from_numpy(np.array(image))
        for name, settings in PREPROCESSORS.items():
            if path.name not in ("photo.png", "tall.png", "wide.png", "tiny.png"):
                continue
            tensors[f"{name}/{path.name}"] = torch.from_numpy(run(settings, image, False).transpose(1, 2, 0).copy())
            if path.name == "photo.png":
                tensors[f"values/{name}"] = torch.from_numpy(run(settings, image, True))
    save_file(tensors, OUT / "expected.safetensors")


if __name__ == "__main__":
    main()
