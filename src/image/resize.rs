//! Resampling as Pillow does it: filters widen when an image shrinks (antialiasing).

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

use serde::{Deserialize, Serialize};

use super::Picture;
use crate::error::{Error, Result};

/// Resampling filter; the numbers are Pillow's, which `preprocessor_config.json` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest = 0,
    /// Windowed sinc of radius 3.
    Lanczos = 1,
    /// Triangle.
    Bilinear = 2,
    /// Keys's cubic with a = -0.5.
    Bicubic = 3,
    /// Mean of the covered pixels.
    Box = 4,
    /// Hamming-windowed sinc of radius 1.
    Hamming = 5,
}

impl Filter {
    /// Every filter with its usual name, in the order of Pillow's numbers.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Nearest, "nearest"),
        (Self::Lanczos, "lanczos"),
        (Self::Bilinear, "bilinear"),
        (Self::Bicubic, "bicubic"),
        (Self::Box, "box"),
        (Self::Hamming, "hamming"),
    ];

    /// The filter of a Pillow number.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).map(|(filter, _)| *filter)
    }

    /// The filter of a name such as `bicubic`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(filter, _)| *filter)
    }

    fn algorithm(self) -> ResizeAlg {
        ResizeAlg::Convolution(match self {
            Self::Nearest => return ResizeAlg::Nearest,
            Self::Lanczos => FilterType::Lanczos3,
            Self::Bilinear => FilterType::Bilinear,
            Self::Bicubic => FilterType::CatmullRom,
            Self::Box => FilterType::Box,
            Self::Hamming => FilterType::Hamming,
        })
    }
}

/// A picture resized to `width` x `height`; the aspect ratio is the caller's affair.
///
/// # Errors
/// [`Error::Image`] for a size of zero or one that the resizer refuses.
pub fn resize(picture: &Picture, width: usize, height: usize, filter: Filter) -> Result<Picture> {
    if filter == Filter::Nearest {
        return pass(picture, width, height, filter);
    }
    let (middle_width, middle_height) = if goes_down_first(picture, width, height) {
        (picture.width, height)
    } else {
        (width, picture.height)
    };
    let middle = pass(picture, middle_width, middle_height, filter)?;
    pass(&middle, width, height, filter)
}

/// Which pass comes first, with rounding to bytes after it: the order moves single pixels by several levels.
///
/// Pillow goes across first, and from version 13 on down first where more than twice as many rows as columns go.
fn goes_down_first(picture: &Picture, width: usize, height: usize) -> bool {
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    let rows = lost(picture.height, height);
    rows > 0 && rows > 2 * lost(picture.width, width)
}

/// One pass; nothing if the size is right already.
fn pass(picture: &Picture, width: usize, height: usize, filter: Filter) -> Result<Picture> {
    if (picture.width, picture.height) == (width, height) {
        return Ok(picture.clone());
    }
    let failed = |reason: String| Error::Image {
        name: format!("resize {}x{} to {width}x{height}", picture.width, picture.height),
        reason,
    };
    let side = |value: usize| u32::try_from(value).map_err(|error| failed(error.to_string()));
    let source = ImageRef::new(side(picture.width)?, side(picture.height)?, &picture.rgb, PixelType::U8x3)
        .map_err(|error| failed(error.to_string()))?;
    let mut out = Image::new(side(width)?, side(height)?, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(filter.algorithm());
    Resizer::new().resize(&source, &mut out, &options).map_err(|error| failed(error.to_string()))?;
    Ok(Picture { width, height, rgb: out.into_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_agree() {
        for (index, (filter, name)) in Filter::ALL.into_iter().enumerate() {
            assert_eq!(Filter::from_code(index as u64), Some(filter));
            assert_eq!(Filter::from_name(name), Some(filter));
            assert_eq!(filter as usize, index);
        }
        assert_eq!(Filter::from_code(6), None);
        assert_eq!(Filter::from_name("cubic"), None);
    }

    #[test]
    fn down_comes_first_where_it_takes_most_away() {
        let first = |from: (usize, usize), to: (usize, usize)| {
            goes_down_first(&Picture::filled(from.0, from.1, [0; 3]), to.0, to.1)
        };
        assert!(first((33, 80), (20, 48)) && first((20, 30), (40, 29)));
        assert!(!first((333, 500), (248, 372)) && !first((20, 30), (15, 20)) && !first((20, 30), (10, 40)));
    }

    #[test]
    fn one_colour_stays_that_colour() {
        let picture = Picture::filled(37, 11, [200, 3, 77]);
        for (filter, name) in Filter::ALL {
            let resized = resize(&picture, 5, 64, filter).expect(name);
            assert_eq!(resized, Picture::filled(5, 64, [200, 3, 77]), "{name}");
        }
    }
}
