//! What the three numbers of a JPEG's pixel are.
//!
//! libjpeg-turbo (`default_decompress_parms` in jdapimin.c) takes them for Y, Cb and Cr where the file says JFIF, else
//! for what Adobe's segment says, else for R, G and B where the components are named so. The decoder asks Adobe's segment
//! alone: where that gives something else, the file is decoded with such a segment before its first scan.

use libjpeg_turbo_rs::{ColorSpace, Decoder};

const APP14: u8 = 0xee;
const START_OF_SCAN: u8 = 0xda;
const ADOBE: &[u8] = b"Adobe";
/// Bytes of Adobe's segment after its length; the last one is the transform: 0 is none, 1 is Y, Cb and Cr.
const ADOBE_BYTES: usize = 12;

/// The file with a segment that says what libjpeg-turbo takes its three colours for; none where the decoder takes them
/// for the same.
pub fn declared(bytes: &[u8], decoder: &Decoder) -> Option<Vec<u8>> {
    let names: Vec<u8> = decoder.header().components.iter().map(|component| component.id).collect();
    let found = decoder.jpeg_color_space();
    let transform = match found {
        ColorSpace::Rgb if decoder.saw_jfif_marker() => 1,
        ColorSpace::YCbCr if !decoder.saw_jfif_marker() && names == *b"RGB" && !has_adobe(bytes) => 0,
        _ => return None,
    };
    let scan = segments(bytes).find(|segment| segment.marker == START_OF_SCAN)?.start;
    let mut declared = bytes[..scan].to_vec();
    declared.extend([0xff, APP14, 0, 2 + ADOBE_BYTES as u8]);
    declared.extend(ADOBE);
    declared.extend([0, 100, 0, 0, 0, 0, transform]);
    declared.extend(&bytes[scan..]);
    Some(declared)
}

fn has_adobe(bytes: &[u8]) -> bool {
    segments(bytes).any(|segment| {
        segment.marker == APP14 && segment.data.len() >= ADOBE_BYTES && segment.data.starts_with(ADOBE)
    })
}

struct Segment<'a> {
    marker: u8,
    /// Of its marker in the file.
    start: usize,
    data: &'a [u8],
}

/// The segments from the start of the file to its first scan, as far as they can be followed.
fn segments(bytes: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut place = Some(2);
    std::iter::from_fn(move || {
        let rest = bytes.get(place?..)?;
        // Any number of 0xff may stand before a marker.
        let fill = rest.iter().take_while(|byte| **byte == 0xff).count().checked_sub(1)?;
        let start = place? + fill;
        let marker = *bytes.get(start + 1)?;
        let length = usize::from(u16::from_be_bytes([*bytes.get(start + 2)?, *bytes.get(start + 3)?]));
        let data = bytes.get(start + 4..start + 2 + length)?;
        place = (marker != START_OF_SCAN).then_some(start + 2 + length);
        Some(Segment { marker, start, data })
    })
}
