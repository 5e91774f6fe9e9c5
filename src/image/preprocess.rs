//! A picture as a model sees it: resized, cropped, normalised.

use serde::{Deserialize, Serialize};

use super::{
    Picture,
    decode::MAX_PIXELS,
    processor,
    resize::{Filter, resize},
};
use crate::error::{Error, Result};

/// How a picture is brought to a size before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Not at all.
    Keep,
    /// To (height, width); the aspect ratio is not kept.
    Exact(usize, usize),
    /// The shorter side to so many pixels, the aspect ratio kept.
    ShortestEdge(usize),
    /// The same, but no more than so many pixels for the longer side.
    Edges(usize, usize),
}

/// How a picture of another shape is brought to the model's input, where that differs from a checkpoint's own way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cropping {
    /// The shorter side is resized so that the centre crop takes this share of it, as timm's `crop_pct` does.
    Share(f64),
    /// Nothing is cut off: the whole picture is squeezed into the input.
    Squeeze,
}

/// The preprocessing of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Resizing.
    pub scale: Scale,
    /// Resampling filter.
    pub filter: Filter,
    /// Centre crop to (height, width) after resizing.
    pub center_crop: Option<(usize, usize)>,
    /// Factor on pixel values before mean and deviation: 1/255, or 1 where a file asks for no rescaling.
    pub rescale: f32,
    /// Mean per channel.
    pub mean: [f32; 3],
    /// Standard deviation per channel.
    pub std: [f32; 3],
    input_size: (usize, usize),
}

impl Preprocess {
    /// Preprocessing from its parts.
    ///
    /// `image_size` decides the input size where neither resize nor crop does.
    ///
    /// # Errors
    /// [`Error::Config`] when images of different shapes would come out with different sizes.
    pub fn new(
        name: &str,
        scale: Scale,
        center_crop: Option<(usize, usize)>,
        image_size: (usize, usize),
    ) -> Result<Self> {
        let input_size = match (center_crop, scale) {
            (Some(size), _) => size,
            (None, Scale::Exact(height, width)) => (height, width),
            (None, Scale::Keep) => image_size,
            (None, Scale::ShortestEdge(_) | Scale::Edges(..)) => {
                let reason =
                    "a shortest edge without a centre crop gives every image another size; set crop_size";
                return Err(Error::config(name, "do_center_crop", reason));
            }
        };
        let (mean, std) = ([0.5; 3], [0.5; 3]);
        Ok(Self { scale, filter: Filter::Bilinear, center_crop, rescale: 1.0 / 255.0, mean, std, input_size })
    }

    /// The preprocessing that `preprocessor_config.json` asks for, or the architecture's default.
    ///
    /// Both arguments are (file name, text); the second is `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Unsupported`] with the field.
    pub fn from_json(processor: Option<(&str, &str)>, config: (&str, &str)) -> Result<Self> {
        processor::read(processor, config)
    }

    /// Height and width that the model sees.
    pub fn input_size(&self) -> (usize, usize) {
        self.input_size
    }

    /// The same preprocessing at another input size: what is cut off stays the same part of the image.
    pub fn with_input_size(mut self, height: usize, width: usize) -> Self {
        let (old_height, old_width) = self.input_size;
        // A size that no model can have is refused with the model; until then it must not overflow.
        let scaled = |value: usize, new: usize, old: usize| {
            value.saturating_mul(new).saturating_add(old / 2) / old.max(1)
        };
        self.scale = match self.scale {
            _ if (height, width) == self.input_size => self.scale,
            Scale::Keep => Scale::Keep,
            Scale::Exact(h, w) => Scale::Exact(scaled(h, height, old_height), scaled(w, width, old_width)),
            Scale::ShortestEdge(edge) => {
                Scale::ShortestEdge(scaled(edge, height.min(width), old_height.min(old_width)))
            }
            Scale::Edges(shortest, longest) => {
                let own = |edge| scaled(edge, height.min(width), old_height.min(old_width));
                Scale::Edges(own(shortest), own(longest))
            }
        };
        self.center_crop = self.center_crop.map(|_| (height, width));
        self.input_size = (height, width);
        self
    }

    /// The same preprocessing with another way of cropping.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a share that is not between 0.01 and 1, or of an input that is no square.
    pub fn with_cropping(mut self, cropping: Cropping) -> Result<Self> {
        let (height, width) = self.input_size;
        (self.scale, self.center_crop) = match cropping {
            Cropping::Squeeze => (Scale::Exact(height, width), None),
            Cropping::Share(share) if !(0.01..=1.0).contains(&share) => {
                let reason = format!("{share} is not a share between 0.01 and 1");
                return Err(Error::mismatch("--crop-pct", reason));
            }
            Cropping::Share(_) if height != width => {
                let reason =
                    format!("the model takes {width}x{height} pixels, and only a square has a centre crop");
                return Err(Error::mismatch("--crop-pct", reason));
            }
            Cropping::Share(share) => {
                (Scale::ShortestEdge((height as f64 / share).floor() as usize), Some((height, width)))
            }
        };
        Ok(self)
    }

    /// The same preprocessing with another mean and standard deviation.
    pub fn with_mean_std(mut self, mean: [f32; 3], std: [f32; 3]) -> Self {
        (self.mean, self.std) = (mean, std);
        self
    }

    /// Mean per channel.
    pub fn mean(&self) -> [f32; 3] {
        self.mean
    }

    /// Standard deviation per channel.
    pub fn std(&self) -> [f32; 3] {
        self.std
    }

    /// The exact pixels that the model sees, of [`Self::input_size`].
    ///
    /// # Errors
    /// [`Error::Image`] when nothing resizes and the picture has another size.
    pub fn crop(&self, picture: &Picture) -> Result<Picture> {
        let (height, width) = self.scaled_size(picture);
        if height as u64 * width as u64 > MAX_PIXELS {
            let (own_height, own_width) = (picture.height, picture.width);
            let reason = format!(
                "{own_width}x{own_height} is too long and thin: resized it would be {width}x{height}; crop it"
            );
            return Err(Error::Image { name: "image".into(), reason });
        }
        let resized = resize(picture, width, height, self.filter)?;
        let (rows, columns) = self.input_size;
        if self.center_crop.is_none() {
            if (height, width) != (rows, columns) {
                let reason = format!(
                    "{width}x{height}, but the model takes {columns}x{rows} and its config does not resize"
                );
                return Err(Error::Image { name: "image".into(), reason });
            }
            return Ok(resized);
        }
        Ok(resized.window(centered(width, columns), centered(height, rows), columns, rows))
    }

    /// Height and width after resizing; the longer side is rounded down, as in transformers.
    fn scaled_size(&self, picture: &Picture) -> (usize, usize) {
        let (height, width) = (picture.height, picture.width);
        // On 32 bits the products of pixels do not fit into usize.
        let scaled = |edge: usize, long: usize, short: usize| {
            usize::try_from((edge as u64 * long as u64 / short.max(1) as u64).max(1)).unwrap_or(usize::MAX)
        };
        match self.scale {
            Scale::Keep => (height, width),
            Scale::Exact(height, width) => (height, width),
            Scale::ShortestEdge(edge) if height <= width => (edge, scaled(edge, width, height)),
            Scale::ShortestEdge(edge) => (scaled(edge, height, width), edge),
            Scale::Edges(shortest, longest) => {
                let (short, long) = within(shortest, longest, height.min(width), height.max(width));
                if height <= width { (short, long) } else { (long, short) }
            }
        }
    }

    /// Writes the model's input for a picture of [`Self::input_size`].
    ///
    /// # Shapes
    /// - `out`: `[3, H, W]`
    pub fn normalize(&self, crop: &Picture, out: &mut [f32]) {
        let plane = crop.width * crop.height;
        for channel in 0..3 {
            let table: Vec<f32> = (0..256).map(|value| self.normalized(value as f32, channel)).collect();
            let values = crop.rgb.iter().skip(channel).step_by(3);
            for (out, &value) in out[channel * plane..].iter_mut().zip(values) {
                *out = table[usize::from(value)];
            }
        }
    }

    fn normalized(&self, value: f32, channel: usize) -> f32 {
        (value * self.rescale - self.mean[channel]) / self.std[channel]
    }

    /// `preprocessor_config.json` with these settings.
    pub fn to_json(&self) -> serde_json::Value {
        processor::write(self)
    }
}

/// The sides of a picture whose shorter one becomes `shortest`, or less where the longer one would be over `longest`;
/// rounded as transformers does: the shorter side to the nearest, the longer one down.
fn within(shortest: usize, longest: usize, short: usize, long: usize) -> (usize, usize) {
    let ratio = long as f64 / short.max(1) as f64;
    let full = shortest as f64;
    if ratio * full <= longest as f64 {
        let side = shortest as u64 * long as u64 / short.max(1) as u64;
        return (shortest, usize::try_from(side).unwrap_or(usize::MAX));
    }
    let exact = longest as f64 * short as f64 / long as f64;
    let rounded = exact.round_ties_even() as usize;
    // A picture that has the wanted side is left as it is.
    let longer = if rounded == short { long } else { (exact * long as f64 / short as f64) as usize };
    (rounded.max(1), longer.max(1))
}

/// Where a centred window starts, halves rounded to even as torchvision (and so timm) does; transformers' own
/// code cuts them off, which moves some crops by one pixel. Negative when the window is larger than the picture.
fn centered(whole: usize, part: usize) -> isize {
    match part.checked_sub(whole) {
        Some(missing) => -((missing / 2) as isize),
        None => ((whole - part) as f64 / 2.0).round_ties_even() as isize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocess(scale: Scale, crop: Option<(usize, usize)>) -> Preprocess {
        Preprocess::new("x", scale, crop, (8, 8)).expect("valid")
    }

    #[test]
    fn the_shortest_edge_keeps_the_aspect_ratio() {
        let shortest = preprocess(Scale::ShortestEdge(10), Some((8, 8)));
        assert_eq!(shortest.scaled_size(&Picture::filled(33, 20, [0; 3])), (10, 16));
        assert_eq!(shortest.scaled_size(&Picture::filled(20, 33, [0; 3])), (16, 10));
        let crop = shortest.crop(&Picture::filled(33, 20, [7; 3])).expect("crops");
        assert_eq!(crop, Picture::filled(8, 8, [7; 3]));
    }

    #[test]
    fn the_longest_edge_limits_the_shortest() {
        // What transformers 5.24 gives for a picture of so many pixels.
        for (height, width, expected) in
            [(30, 40, (18, 24)), (20, 60, (8, 24)), (60, 20, (24, 8)), (30, 30, (20, 20)), (20, 22, (20, 22))]
        {
            let edges = preprocess(Scale::Edges(20, 24), Some((8, 8)));
            assert_eq!(
                edges.scaled_size(&Picture::filled(width, height, [0; 3])),
                expected,
                "{height} {width}"
            );
        }
    }

    #[test]
    fn a_crop_that_is_larger_than_the_image_pads() {
        let padded =
            preprocess(Scale::Keep, Some((4, 4))).crop(&Picture::filled(2, 2, [9; 3])).expect("crops");
        assert_eq!(padded.rgb.iter().filter(|value| **value == 9).count(), 12);
        assert_eq!(padded.window(1, 1, 2, 2), Picture::filled(2, 2, [9; 3]));
    }

    #[test]
    fn another_input_size_keeps_the_crop_ratio() {
        let larger = preprocess(Scale::ShortestEdge(256), Some((224, 224))).with_input_size(112, 112);
        assert_eq!((larger.scale, larger.input_size()), (Scale::ShortestEdge(128), (112, 112)));
        let exact = preprocess(Scale::Exact(64, 64), None).with_input_size(96, 48);
        assert_eq!(exact.scale, Scale::Exact(96, 48));
    }

    #[test]
    fn cropping_can_be_chosen() {
        let own = || preprocess(Scale::Exact(8, 8), None);
        let cropped = own().with_cropping(Cropping::Share(0.875)).expect("a share");
        assert_eq!((cropped.scale, cropped.center_crop), (Scale::ShortestEdge(9), Some((8, 8))));
        let squeezed = cropped.with_cropping(Cropping::Squeeze).expect("no crop");
        assert_eq!(squeezed, own());
        for share in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(own().with_cropping(Cropping::Share(share)).is_err(), "{share}");
        }
        assert!(own().with_input_size(8, 16).with_cropping(Cropping::Share(0.9)).is_err());
    }

    #[test]
    fn normalising_is_planar() {
        let mut out = vec![0.0; 6];
        let picture = Picture { width: 2, height: 1, rgb: vec![0, 255, 51, 255, 0, 102] };
        preprocess(Scale::Keep, None).normalize(&picture, &mut out);
        let expected = [-1.0, 1.0, 1.0, -1.0, -0.6, -0.2];
        assert!(out.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn crops_are_centred_as_torchvision_does() {
        let starts = [(10, 5), (12, 5), (13, 5), (5, 10), (4, 4)].map(|(whole, part)| centered(whole, part));
        assert_eq!(starts, [2, 4, 4, -2, 0]);
    }

    #[test]
    fn what_gives_no_fixed_size_is_refused() {
        assert!(Preprocess::new("x", Scale::ShortestEdge(9), None, (8, 8)).is_err());
        assert!(preprocess(Scale::Keep, None).crop(&Picture::filled(9, 8, [0; 3])).is_err());
    }
}
