//! From bytes of an image file to the numbers that a model sees, the same Rust for page and command line.
//!
//! [`decode`] reads a file, [`preprocess`] resizes, crops and normalises as a checkpoint's
//! `preprocessor_config.json` asks ([`processor`] reads that file), [`augment`] varies training images, [`unread`] names
//! formats that are not read.

pub mod augment;
mod corners;
pub mod decode;
mod jpeg;
pub mod preprocess;
pub mod processor;
pub mod resize;
pub mod unread;

/// An upright image, 8 bits per channel, without alpha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[height, width, 3]`, row-major.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub fn filled(width: usize, height: usize, color: [u8; 3]) -> Self {
        Self { width, height, rgb: color.repeat(width * height) }
    }

    /// The part of `width` x `height` whose top left corner is at (`left`, `top`); what lies outside the
    /// picture is black.
    pub fn window(&self, left: isize, top: isize, width: usize, height: usize) -> Self {
        let mut out = Self::filled(width, height, [0; 3]);
        let first = left.clamp(0, self.width as isize) as usize;
        let last = (left + width as isize).clamp(0, self.width as isize) as usize;
        for row in 0..height {
            let source = top + row as isize;
            if first >= last || source < 0 || source >= self.height as isize {
                continue;
            }
            let from = (source as usize * self.width + first) * 3;
            let to = (row * width + (first as isize - left) as usize) * 3;
            let len = (last - first) * 3;
            out.rgb[to..to + len].copy_from_slice(&self.rgb[from..from + len]);
        }
        out
    }

    /// Mirrored left to right.
    pub fn mirrored(&self) -> Self {
        let rows = self.rgb.chunks_exact(self.width * 3);
        let rgb = rows.flat_map(|row| row.rchunks_exact(3).flatten().copied()).collect();
        Self { width: self.width, height: self.height, rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_pads_with_black() {
        let picture = Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(picture.window(1, 0, 2, 2).rgb, [4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(picture.window(-1, 0, 2, 1).rgb, [0, 0, 0, 1, 2, 3]);
        assert_eq!(picture.window(5, 0, 1, 1).rgb, [0, 0, 0]);
        assert_eq!(picture.window(-9, -9, 1, 1).rgb, [0, 0, 0]);
    }

    #[test]
    fn mirroring_twice_changes_nothing() {
        let picture = Picture { width: 3, height: 2, rgb: (0..18).collect() };
        assert_eq!(picture.mirrored().rgb[..3], [6, 7, 8]);
        assert_eq!(picture.mirrored().mirrored(), picture);
    }
}
