//! PNG pictures with their parameters as text, so that an image can be made again from itself.

use std::io::{BufRead, Seek, SeekFrom, Write};

use crate::image::Pixels;

/// Pixels per side, at most: larger than any sample, and larger pictures would need gigabytes.
pub const MAX_SIDE: usize = 1 << 15;
const MAX_BYTES: usize = 1 << 30;
/// Bytes that deflate makes of one at most.
const DEFLATED: u64 = 1032;
/// Bytes of a text, decompressed.
const MAX_TEXT: usize = 1 << 20;

/// Writes a gray or RGB picture. Texts outside Latin-1 go into international text chunks.
pub fn write(to: impl Write, picture: &Pixels, texts: &[(String, String)]) -> Result<(), String> {
    write_frames(to, std::slice::from_ref(picture), (0, 0), texts)
}

/// Writes pictures of one size as an animation, a single one as a plain picture; `delays` are the hundredths of a second that
/// each is shown, and the last.
pub fn write_frames(
    to: impl Write,
    pictures: &[Pixels],
    delays: (u16, u16),
    texts: &[(String, String)],
) -> Result<(), String> {
    let picture = pictures.first().ok_or("there is no picture to write")?;
    let color = match picture.channels {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        n => return Err(format!("a PNG picture has 1 or 3 channels, these images have {n}; write .npz or .npy")),
    };
    let side = |n: usize| u32::try_from(n).ok().filter(|&n| n > 0).ok_or("a PNG picture cannot have this size");
    let mut encoder = png::Encoder::new(to, side(picture.width)?, side(picture.height)?);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    if pictures.len() > 1 {
        let frames = u32::try_from(pictures.len()).map_err(|_| "too many frames")?;
        encoder
            .set_animated(frames, 0)
            .and_then(|()| encoder.set_frame_delay(delays.0, 100))
            .map_err(|e| e.to_string())?;
    }
    for (keyword, text) in texts {
        let latin = text.chars().all(|c| (' '..='~').contains(&c) || ('\u{a1}'..='\u{ff}').contains(&c));
        let added = if latin {
            encoder.add_text_chunk(keyword.clone(), text.clone())
        } else {
            encoder.add_itxt_chunk(keyword.clone(), text.clone())
        };
        added.map_err(|e| e.to_string())?;
    }
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    for (k, frame) in pictures.iter().enumerate() {
        if k > 0 && k + 1 == pictures.len() {
            writer.set_frame_delay(delays.1, 100).map_err(|e| e.to_string())?;
        }
        writer.write_image_data(&frame.bytes).map_err(|e| e.to_string())?;
    }
    writer.finish().map_err(|e| e.to_string())
}

/// Reads any PNG without transparent pixels as 8-bit gray or RGB, with its texts.
pub fn read(mut from: impl BufRead + Seek) -> Result<(Pixels, Vec<(String, String)>), String> {
    let length = from.seek(SeekFrom::End(0)).and_then(|end| from.rewind().map(|()| end)).map_err(|e| e.to_string())?;
    let mut decoder = png::Decoder::new_with_limits(from, png::Limits { bytes: MAX_BYTES });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let (width, height) = decoder.read_header_info().map_err(|e| e.to_string())?.size();
    let (width, height) = (width as usize, height as usize);
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("a picture of {width} x {height} pixels; at most {MAX_SIDE} per side are accepted"));
    }
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    // Before there is memory for them: a few bytes may describe gigabytes.
    let described = reader.info().raw_row_length() as u64 * height as u64;
    if described > DEFLATED.saturating_mul(length) {
        return Err(format!("a picture of {width} x {height} pixels in {length} bytes: it is cut short"));
    }
    let size = reader.output_buffer_size().filter(|&n| n <= MAX_BYTES).ok_or("the picture is too large")?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|e| e.to_string())?;
    bytes.truncate(frame.buffer_size());
    let (stored, channels) = match frame.color_type {
        png::ColorType::Grayscale => (1, 1),
        png::ColorType::GrayscaleAlpha => (2, 1),
        png::ColorType::Rgb => (3, 3),
        png::ColorType::Rgba => (4, 3),
        png::ColorType::Indexed => return Err("an unexpanded palette".into()),
    };
    if stored != channels {
        if bytes.chunks_exact(stored).any(|pixel| pixel[channels] != 255) {
            return Err(
                "it has transparent pixels; draw it onto a background first (a mask says what an edit makes)".into()
            );
        }
        bytes = bytes.chunks_exact(stored).flat_map(|pixel| pixel[..channels].iter().copied()).collect();
    }
    let info = reader.info();
    let mut texts: Vec<(String, String)> =
        info.uncompressed_latin1_text.iter().map(|t| (t.keyword.clone(), t.text.clone())).collect();
    texts.extend(info.utf8_text.iter().filter_map(|text| {
        let mut text = text.clone();
        // A few compressed bytes may stand for gigabytes; a text like that is left out, as any that cannot be read.
        text.decompress_text_with_limit(MAX_TEXT).ok()?;
        Some((text.keyword.clone(), text.get_text().ok()?))
    }));
    Ok((Pixels { height, width, channels, bytes }, texts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_text_that_grows_without_bound_is_left_out() {
        for (length, fits) in [(1000, true), (MAX_TEXT + 1, false)] {
            let mut text = png::text_metadata::ITXtChunk::new("prompt", "x".repeat(length));
            text.compressed = true;
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, 1, 1);
            encoder.set_color(png::ColorType::Grayscale);
            let mut writer = encoder.write_header().expect("a header");
            writer.write_text_chunk(&text).expect("a text");
            writer.write_image_data(&[0]).expect("a pixel");
            writer.finish().expect("an end");
            assert!(file.len() < 10_000, "it is compressed");
            let (_, texts) = read(Cursor::new(&file)).expect("read");
            assert_eq!(texts.len(), usize::from(fits), "{length} bytes");
        }
    }

    #[test]
    fn pictures_and_texts_read_back() {
        for channels in [1, 3] {
            let bytes: Vec<u8> = (0..5 * 7 * channels).map(|i| (i * 7 % 256) as u8).collect();
            let picture = Pixels { height: 5, width: 7, channels, bytes };
            let texts =
                [("Software", "guided-diffusion"), ("prompt", "écharpe, 围巾")].map(|(k, t)| (k.into(), t.into()));
            let mut file = Vec::new();
            write(&mut file, &picture, &texts).expect("written");
            let (again, found) = read(Cursor::new(&file)).expect("read");
            assert_eq!((again, found), (picture, texts.to_vec()));
        }
    }

    /// A chunk's checksum.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            let bit = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            (0..8).fold(crc ^ u32::from(*byte), bit)
        })
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        let picture = Pixels { height: 2, width: 2, channels: 2, bytes: vec![0; 8] };
        assert!(write(Vec::new(), &picture, &[]).is_err());
        let empty = Pixels { height: 0, width: 2, channels: 1, bytes: Vec::new() };
        assert!(write(Vec::new(), &empty, &[]).is_err());
        let short = Pixels { height: 2, width: 2, channels: 1, bytes: vec![0; 3] };
        assert!(write(Vec::new(), &short, &[]).is_err());

        let good = Pixels { height: 9, width: 9, channels: 3, bytes: vec![7; 243] };
        let mut file = Vec::new();
        write(&mut file, &good, &[]).expect("written");
        let mut vast = file.clone();
        vast[18] = 0x7f;
        vast[22] = 0x7f;
        let checksum = crc(&vast[12..29]).to_be_bytes();
        vast[29..33].copy_from_slice(&checksum);
        let error = read(Cursor::new(&vast)).expect_err("pixels that no such file holds");
        assert!(error.contains("32521 x 32521") && error.contains("cut short"), "{error}");
        for length in 0..file.len() - 12 {
            assert!(read(Cursor::new(&file[..length])).is_err(), "cut off at {length}");
        }
        for at in 0..file.len() {
            let mut broken = file.clone();
            broken[at] ^= 0x55;
            let _ = read(Cursor::new(&broken)); // An error or a picture, but no panic.
        }
    }
}
