//! The compression of rich text in TNEF (MS-OXRTFCP): pieces of a window of 4 KiB, which begins with what
//! every such text begins with.

/// Why a text is not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtfError {
    /// It has no header, or one of another kind.
    Header,
    /// It ends too early.
    Cut,
    /// It is larger than the bound.
    TooLarge,
}

/// What the window holds at first (MS-OXRTFCP 2.1.3.1.2).
const START: &[u8] = b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \
    \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \
    \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";

const WINDOW: usize = 4_096;

/// Length of the header: sizes, kind, checksum.
const HEADER: usize = 16;

/// Decompresses a text of at most `max` octets.
///
/// # Errors
/// When it is malformed or too large.
pub fn decompress(data: &[u8], max: usize) -> Result<Vec<u8>, RtfError> {
    let word = |at: usize| {
        let octets = data.get(at..at + 4)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*octets) as usize)
    };
    let (Some(packed), Some(raw)) = (word(0), word(4)) else { return Err(RtfError::Header) };
    if raw > max {
        return Err(RtfError::TooLarge);
    }
    // The size counts from behind itself.
    let end = data.len().min(packed.saturating_add(4));
    let body = data.get(HEADER..end).unwrap_or_default();
    match data.get(8..12) {
        Some(b"MELA") => body.get(..raw).map(<[u8]>::to_vec).ok_or(RtfError::Cut),
        Some(b"LZFu") => unpack(body, raw, max),
        _ => Err(RtfError::Header),
    }
}

fn unpack(body: &[u8], raw: usize, max: usize) -> Result<Vec<u8>, RtfError> {
    let mut window = Window { octets: [0; WINDOW], at: 0, out: Vec::new() };
    START.iter().for_each(|octet| window.put(*octet));
    window.out.clear();
    let mut rest = body;
    // One octet of marks stands before eight tokens: an octet, or a piece of the window.
    while let [marks, behind @ ..] = rest {
        rest = behind;
        for bit in 0..8 {
            if marks >> bit & 1 == 0 {
                let [octet, behind @ ..] = rest else { return finish(window.out, raw) };
                rest = behind;
                window.put(*octet);
            } else {
                let [high, low, behind @ ..] = rest else { return finish(window.out, raw) };
                rest = behind;
                let from = usize::from(*high) << 4 | usize::from(*low) >> 4;
                // A piece that begins where writing goes on says that this is the end.
                if from == window.at {
                    return finish(window.out, raw);
                }
                for offset in from..from + usize::from(low & 15) + 2 {
                    window.put(window.octets.get(offset % WINDOW).copied().unwrap_or_default());
                }
            }
            if window.out.len() > max {
                return Err(RtfError::TooLarge);
            }
        }
    }
    finish(window.out, raw)
}

/// What was written, and the last of it again in a ring.
struct Window {
    octets: [u8; WINDOW],
    at: usize,
    out: Vec<u8>,
}

impl Window {
    fn put(&mut self, octet: u8) {
        if let Some(place) = self.octets.get_mut(self.at) {
            *place = octet;
        }
        self.at = (self.at + 1) % WINDOW;
        self.out.push(octet);
    }
}

/// A text that is longer than its header says is cut, as readers do.
fn finish(mut out: Vec<u8>, raw: usize) -> Result<Vec<u8>, RtfError> {
    if out.len() < raw {
        return Err(RtfError::Cut);
    }
    out.truncate(raw);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of MS-OXRTFCP section 4.
    #[test]
    fn examples() {
        let simple =
            b"\x2d\0\0\0\x2b\0\0\0LZFu\xf1\xc5\xc7\xa7\x03\0\x0a\0rcpg125\x42\x32\x0a\xf3 hel\
            \x09\0 bw\x05\xb0ld}\x0a\x80\x0f\xa0";
        let want = b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n";
        assert_eq!(decompress(simple, 1_000).unwrap(), want);
        let crossing =
            b"\x1a\0\0\0\x1c\0\0\0LZFu\xe2\xd4\x4b\x51\x41\0\x04\x20WXYZ\x0d\x6e}\x01\x0e\xb0";
        assert_eq!(decompress(crossing, 1_000).unwrap(), b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}");
        assert_eq!(decompress(b"\x0e\0\0\0\x02\0\0\0MELA\0\0\0\0xy", 10).unwrap(), b"xy");
    }

    #[test]
    fn malformed() {
        let rows: &[(&[u8], RtfError)] = &[
            (b"", RtfError::Header),
            (b"\x0e\0\0\0\x02\0\0\0MELB\0\0\0\0xy", RtfError::Header),
            (b"\x0e\0\0\0\x03\0\0\0MELA\0\0\0\0xy", RtfError::Cut),
            (b"\xff\xff\xff\xff\xff\xff\xff\xffLZFu\0\0\0\0xy", RtfError::TooLarge),
            (b"\x10\0\0\0\x03\0\0\0LZFu\0\0\0\0\0xy", RtfError::Cut),
            (b"\x10\0\0\0\x03\0\0\0LZFu\0\0\0\0\x01x", RtfError::Cut),
        ];
        for (data, want) in rows {
            assert_eq!(decompress(data, 1_000), Err(*want), "{}", data.escape_ascii());
        }
        let bomb =
            [&b"\0\x40\0\0\x01\0\0\0LZFu\0\0\0\0"[..], &[0xff, 0, 0x0f, 0, 0x0f].repeat(1_000)]
                .concat();
        assert_eq!(decompress(&bomb, 1_000), Err(RtfError::TooLarge));
    }
}
