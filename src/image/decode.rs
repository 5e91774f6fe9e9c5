//! Image files to upright pictures, with limits that are checked before memory is taken.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, metadata::Orientation};

use super::{Picture, jpeg, unread};
use crate::error::{Error, Result};

/// Largest image file, in bytes.
pub const MAX_BYTES: usize = 50 * 1024 * 1024;

/// Most pixels of an image.
pub const MAX_PIXELS: u64 = 100_000_000;

/// File name endings of images that folders are searched for.
pub const EXTENSIONS: [&str; 9] = ["bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// Decodes a file: EXIF orientation applied, transparent parts laid on white, grey and CMYK made RGB, 16 bits made 8.
///
/// # Errors
/// [`Error::Image`] names the file and says what is wrong: not an image, truncated, over a limit.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Picture> {
    let failed = |reason: String| Error::Image { name: name.into(), reason };
    if bytes.is_empty() {
        return Err(failed("the file is empty".into()));
    }
    if bytes.len() > MAX_BYTES {
        return Err(failed(too_large(bytes.len() as u64)));
    }
    if let Some(reason) = unread::by_bytes(bytes) {
        return Err(failed(reason));
    }
    let reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| failed(e.to_string()))?;
    let (mut image, orientation) = match reader.format() {
        None => {
            let unknown = || "not an image of a known format; use JPEG, PNG, WebP, GIF, BMP or TIFF".into();
            return Err(failed(unread::by_name(Path::new(name)).unwrap_or_else(unknown)));
        }
        Some(ImageFormat::Jpeg) => jpeg::decode(bytes).map_err(failed)?,
        Some(_) => decode_other(reader).map_err(failed)?,
    };
    image.apply_orientation(orientation);
    Ok(to_picture(image))
}

/// Reads and decodes a file.
///
/// # Errors
/// As [`read_file`] and [`decode`].
pub fn decode_file(path: &Path) -> Result<Picture> {
    decode(&path.display().to_string(), &read_file(path)?)
}

/// Reads an image file; a size over [`MAX_BYTES`] is refused before it is read.
///
/// # Errors
/// [`Error::Io`], and [`Error::Image`] for a file that is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let io = |error| Error::io("read", path, error);
    let refused = |size| Error::Image { name: path.display().to_string(), reason: too_large(size) };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MAX_BYTES as u64 {
        return Err(refused(size));
    }
    let bytes = read_limited(file).map_err(io)?;
    if bytes.len() > MAX_BYTES { Err(refused(bytes.len() as u64)) } else { Ok(bytes) }
}

/// At most one byte more than an image may have: a pipe or a device has no size, and perhaps no end.
fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_large(bytes: u64) -> String {
    format!("{:.0} MB is over the limit of 50 MB; make it smaller", bytes as f64 / (1024.0 * 1024.0))
}

/// Every format but JPEG: the picture, and how it has to be turned.
fn decode_other(
    reader: ImageReader<Cursor<&[u8]>>,
) -> std::result::Result<(DynamicImage, Orientation), String> {
    let unreadable = |error: image::ImageError| format!("cannot be decoded ({error}); save it again");
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    // A broken EXIF block does not make the pixels worse: Pillow shows them as they are, too.
    // Some programs begin the block of a WebP or a PNG as that of a JPEG begins, which Pillow takes away, too.
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = match exif.as_deref().and_then(|block| block.strip_prefix(b"Exif\0\0")) {
        Some(block) => Orientation::from_exif_chunk(block),
        None => decoder.orientation().ok(),
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    Ok((image, orientation))
}

/// Whether there is memory for so many pixels; asked before any is taken.
pub(super) fn check_size(width: u32, height: u32) -> std::result::Result<(), String> {
    match u64::from(width) * u64::from(height) {
        0 => Err("it has no pixels".into()),
        pixels if pixels > MAX_PIXELS => {
            Err(format!("{width}x{height} is over the limit of 100 megapixels; make it smaller"))
        }
        _ => Ok(()),
    }
}

/// RGB as Pillow's `convert("RGB")` gives it: of 16 bits the high byte. But grey of 16 bits keeps it, too, where Pillow
/// would make everything above 255 white, and what is transparent lies on white, where Pillow shows whatever colour is
/// stored beneath.
fn to_picture(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let high = |value: u16| (value >> 8) as u8;
    let rgb = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgb16(image) => image.into_raw().into_iter().map(high).collect(),
        DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|p| on_white(p.0.map(high))).collect(),
        DynamicImage::ImageLuma16(image) => image.into_raw().into_iter().flat_map(|v| [high(v); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().map(|p| p.0.map(high)).flat_map(|[v, alpha]| on_white([v, v, v, alpha])).collect()
        }
        other if other.color().has_alpha() => {
            other.into_rgba8().pixels().flat_map(|p| on_white(p.0)).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    Picture { width, height, rgb }
}

/// As most programs show a drawing with a transparent background.
fn on_white([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    let (alpha, white) = (u16::from(alpha), u16::from(u8::MAX));
    [red, green, blue]
        .map(|value| ((u16::from(value) * alpha + white * (white - alpha) + white / 2) / white) as u8)
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).expect("PNG encoder");
        bytes.into_inner()
    }

    fn reason(bytes: &[u8]) -> String {
        decode("x.png", bytes).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_block_of_exif_may_begin_as_in_a_jpeg() {
        use image::{ImageEncoder, codecs::webp::WebPEncoder};
        let turned: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        for start in [b"".as_slice(), b"Exif\0\0"] {
            let mut bytes = Vec::new();
            let mut encoder = WebPEncoder::new_lossless(&mut bytes);
            encoder.set_exif_metadata([start, turned].concat()).expect("metadata");
            encoder.encode(&[1, 2, 3, 4, 5, 6], 2, 1, image::ExtendedColorType::Rgb8).expect("encodes");
            let picture = decode("a.webp", &bytes).expect("decodes");
            assert_eq!((picture.width, picture.height), (1, 2), "{start:?}");
        }
    }

    #[test]
    fn what_is_transparent_is_white() {
        let read = |image: DynamicImage| decode("a.png", &png(&image)).expect("decodes").rgb;
        for (alpha, expected) in [(0, [255; 3]), (255, [9, 100, 0]), (51, [206, 224, 204])] {
            let pixel = Rgba([9, 100, 0, alpha]);
            let colour = DynamicImage::ImageRgba8(RgbaImage::from_pixel(2, 1, pixel));
            assert_eq!(read(DynamicImage::ImageRgba16(colour.to_rgba16())), expected.repeat(2), "{alpha}");
            assert_eq!(read(colour), expected.repeat(2), "{alpha}");
        }
        for (alpha, expected) in [(0, 255), (0xffff, 0x80), (0x7fff, 0xc0)] {
            let wide = image::ImageBuffer::from_pixel(1, 1, image::LumaA([0x80ffu16, alpha]));
            assert_eq!(read(DynamicImage::ImageLumaA16(wide)), [expected; 3], "{alpha}");
        }
        let grey = image::ImageBuffer::from_pixel(1, 1, image::LumaA([0u8, 0]));
        assert_eq!(read(DynamicImage::ImageLumaA8(grey)), [255; 3]);
    }

    #[test]
    fn of_16_bits_the_high_byte_stays() {
        let wide = image::ImageBuffer::from_pixel(1, 1, image::Luma([0x80ffu16]));
        assert_eq!(decode("g.png", &png(&DynamicImage::ImageLuma16(wide))).expect("decodes").rgb, [0x80; 3]);
        let wide = image::ImageBuffer::from_pixel(1, 1, image::Rgb([0x01ffu16, 0x8000, 0xff7f]));
        let colour = DynamicImage::ImageRgb16(wide);
        for image in [DynamicImage::ImageRgba16(colour.to_rgba16()), colour] {
            assert_eq!(decode("c.png", &png(&image)).expect("decodes").rgb, [0x01, 0x80, 0xff]);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let whole = png(&DynamicImage::new_rgb8(64, 64));
        assert!(reason(&[]).contains("empty"));
        assert!(reason(b"hello").contains("not an image"));
        // Whatever the name says.
        assert!(
            reason(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif").contains("x.png: AVIF is not read; save it as")
        );
        let error = decode("x.tga", b"hello").expect_err("must be refused").to_string();
        assert!(error.contains("x.tga: TGA is not read; save it as JPEG or PNG"), "{error}");
        assert!(reason(&whole[..whole.len() / 2]).contains("cannot be decoded"));
        assert!(reason(&vec![0; MAX_BYTES + 1]).contains("over the limit of 50 MB"));
    }

    #[test]
    fn a_large_file_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("large.png");
        // A file with a hole: a terabyte that only an attempt to read it would notice.
        File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
        let error = decode_file(&path).expect_err("must be refused").to_string();
        assert!(error.contains("large.png") && error.contains("over the limit of 50 MB"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_never_ends_is_read_up_to_the_limit() {
        let dir = tempfile::tempdir().expect("a folder");
        let pipe = dir.path().join("pipe.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            // Ends with an error when nobody reads any more.
            move || io::copy(&mut io::repeat(0), &mut std::fs::OpenOptions::new().write(true).open(pipe)?)
        });
        let error = decode_file(&pipe).expect_err("must be refused").to_string();
        assert!(error.contains("over the limit of 50 MB"), "{error}");
        assert!(writer.join().expect("ends").is_err());
    }

    #[test]
    fn a_huge_header_is_refused_before_memory_is_taken() {
        let mut bytes = png(&DynamicImage::new_rgb8(1, 1));
        bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let crc = crc(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&crc);
        assert!(reason(&bytes).contains("100 megapixels"), "{}", reason(&bytes));
    }

    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
    }
}
