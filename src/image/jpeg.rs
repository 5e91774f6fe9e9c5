//! JPEG to RGB, byte for byte as libjpeg-turbo (so Pillow, and most browsers) decodes it.
//!
//! Decoders differ by a few levels in the inverse transform and in how they enlarge colour, which is enough to turn
//! a close decision of a model. Hence a decoder that follows libjpeg-turbo to the bit.

use image::{DynamicImage, RgbImage, metadata::Orientation};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, FrameHeader, Image, PixelFormat};

use super::decode::check_size;

mod colours;

/// Most scans of a progressive file: real ones have about ten, and every scan costs a pass over the picture.
const MAX_SCANS: usize = 512;

/// The picture and how it has to be turned.
///
/// # Errors
/// What is wrong, for a person: truncated, too large, a kind of JPEG that is not supported.
pub fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let limits = DecodeLimits { max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(unreadable)?;
    let declared = colours::declared(bytes, &decoder);
    if let Some(bytes) = &declared {
        decoder = Decoder::new_with_limits(bytes, limits).map_err(unreadable)?;
    }
    check_size(decoder.header().width.into(), decoder.header().height.into())?;
    let orientation =
        decoder.exif_orientation().and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms);
    let inks = decoder.header().components.len() == 4;
    if inks {
        check_inks(decoder.header())?;
    }
    decoder.set_output_format(if inks { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let mut image = decoder.decode_image().map_err(unreadable)?;
    if inks {
        image.data = inverted_cmyk_to_rgb(&image.data);
    }
    let Image { width, height, data, .. } = image;
    let rgb = u32::try_from(width).ok().zip(u32::try_from(height).ok());
    let rgb = rgb.and_then(|(width, height)| RgbImage::from_raw(width, height, data));
    Ok((DynamicImage::ImageRgb8(rgb.ok_or("the decoder gave too few pixels")?), orientation))
}

/// The decoder takes the first and the last ink to have every pixel and the other two to be alike, as they are in real
/// files, and panics or gives noise where they are not.
fn check_inks(frame: &FrameHeader) -> Result<(), String> {
    let sampling: Vec<(u8, u8)> =
        frame.components.iter().map(|ink| (ink.horizontal_sampling, ink.vertical_sampling)).collect();
    let divides = |whole: u8, part: u8| part > 0 && whole.is_multiple_of(part);
    match sampling[..] {
        [first, second, third, last]
            if first == last
                && second == third
                && divides(first.0, second.0)
                && divides(first.1, second.1) =>
        {
            Ok(())
        }
        _ => Err(unreadable("its inks have different numbers of pixels")),
    }
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("cannot be decoded ({error}); save it again")
}

/// CMYK as Adobe writes it into JPEG (255 is no ink), with Pillow's formula: (255 - c)(255 - k) / 255.
fn inverted_cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let channel = |colour: u8, black: u8| {
        let product = u32::from(255 - colour) * u32::from(black) + 128;
        black.saturating_sub((((product >> 8) + product) >> 8) as u8)
    };
    cmyk.chunks_exact(4).flat_map(|inks| [0, 1, 2].map(|i| channel(inks[i], inks[3]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ink_is_white_and_full_black_is_black() {
        assert_eq!(inverted_cmyk_to_rgb(&[255, 255, 255, 255]), [255, 255, 255]);
        assert_eq!(inverted_cmyk_to_rgb(&[255, 255, 255, 0]), [0, 0, 0]);
        assert_eq!(inverted_cmyk_to_rgb(&[0, 255, 128, 255]), [0, 255, 128]);
    }

    #[test]
    fn inks_of_different_sizes_are_refused() {
        let inks = |sampling: [u8; 4]| {
            let pixels = vec![90; 32 * 32 * 4];
            let whole = libjpeg_turbo_rs::Subsampling::S444;
            let mut jpeg =
                libjpeg_turbo_rs::compress(&pixels, 32, 32, PixelFormat::Cmyk, 90, whole).expect("encodes");
            let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a baseline frame");
            sampling.iter().enumerate().for_each(|(ink, value)| jpeg[frame + 11 + 3 * ink] = *value);
            decode(&jpeg)
        };
        assert!(inks([0x11; 4]).is_ok());
        for sampling in [
            [0x11, 0x11, 0x11, 0x32],
            [0x32, 0x11, 0x11, 0x11],
            [0x22, 0x11, 0x21, 0x22],
            [0x33, 0x22, 0x22, 0x33],
        ] {
            assert!(inks(sampling).is_err_and(|reason| reason.contains("inks")), "{sampling:x?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let pixels = vec![90; 64 * 64 * 3];
        let jpeg = libjpeg_turbo_rs::compress(
            &pixels,
            64,
            64,
            PixelFormat::Rgb,
            90,
            libjpeg_turbo_rs::Subsampling::S420,
        )
        .expect("encodes");
        assert!(decode(&jpeg).is_ok());
        assert!(decode(&jpeg[..jpeg.len() / 3]).is_err_and(|reason| reason.contains("cannot be decoded")));
        let mut huge = jpeg.clone();
        let frame = huge.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a baseline frame");
        huge[frame + 5..frame + 9].copy_from_slice(&[0xff, 0x00, 0xff, 0x00]);
        assert!(decode(&huge).is_err_and(|reason| reason.contains("100 megapixels")));
    }
}
