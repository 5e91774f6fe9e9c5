//! Formats of pictures that are known and not read, so that a person is told which one it is.

use std::path::Path;

/// What people call them, and how the names of their files end.
const FORMATS: [(&str, &[&str]); 7] = [
    ("HEIC", &["heic", "heif", "hif"]),
    ("AVIF", &["avif"]),
    ("JPEG XL", &["jxl"]),
    ("JPEG 2000", &["jp2", "j2k", "jpx"]),
    ("ICO", &["ico"]),
    ("PPM", &["ppm", "pgm", "pbm", "pnm"]),
    ("TGA", &["tga"]),
];

/// What to say of a file whose name is that of such a picture.
pub fn by_name(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    let (format, _) = FORMATS.iter().find(|(_, endings)| endings.contains(&extension.as_str()))?;
    Some(reason(format))
}

/// What to say of a file that begins as such a picture; TGA begins with nothing of its own.
pub fn by_bytes(bytes: &[u8]) -> Option<String> {
    let format = match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brands @ ..] => phone_format(brands)?,
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "JPEG XL",
        [0xff, 0x4f, 0xff, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => "JPEG 2000",
        [0, 0, 1, 0, ..] => "ICO",
        [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace() => "PPM",
        _ => return None,
    };
    Some(reason(format))
}

/// Both are boxes as those of a film, with the brands that they conform to at the start.
fn phone_format(brands: &[u8]) -> Option<&'static str> {
    const FIRST: usize = 16;
    let has = |known: &[&str]| {
        brands.chunks(4).take(FIRST).any(|own| known.iter().any(|name| name.as_bytes() == own))
    };
    if has(&["avif", "avis"]) {
        Some("AVIF")
    } else {
        has(&["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"]).then_some("HEIC")
    }
}

fn reason(format: &str) -> String {
    format!("{format} is not read; save it as JPEG or PNG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_are_not_read_are_known_by_name_and_by_their_first_bytes() {
        for (name, format) in [
            ("a/IMG_1.HEIC", "HEIC"),
            ("b.avif", "AVIF"),
            ("c.jxl", "JPEG XL"),
            ("d.jp2", "JPEG 2000"),
            ("e.ico", "ICO"),
            ("f.pgm", "PPM"),
            ("g.tga", "TGA"),
        ] {
            assert_eq!(by_name(Path::new(name)), Some(reason(format)));
        }
        for (bytes, format) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], "HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
            (b"\xff\x0a\xfa\x7f", "JPEG XL"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"\0\0\x01\0\x01\0", "ICO"),
            (b"P6\n2 2\n255\n", "PPM"),
        ] {
            assert_eq!(by_bytes(bytes), Some(reason(format)));
        }
        for bytes in [&b"\0\0\0\x18ftypisom\0\0\0\0mp41"[..], b"Peter", b"\xff\xd8\xff", b""] {
            assert_eq!(by_bytes(bytes), None);
        }
        assert_eq!(by_name(Path::new("notes.txt")), None);
    }
}
