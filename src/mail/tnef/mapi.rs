//! Lists of properties in TNEF (MS-OXTNEF 2.1.3.4): of a message, and of an attachment.

use crate::limits::TNEF_ATTRIBUTES_MAX;
use crate::mail::mime::charset;

/// Octets of a name or type that are kept.
const TEXT_MAX: usize = 4_096;

/// Types of values (MS-OXCDATA 2.11.1).
pub(super) const OBJECT: u16 = 0x0d;
const STRING8: u16 = 0x1e;
const UNICODE: u16 = 0x1f;
const BINARY: u16 = 0x102;
const MULTIPLE: u16 = 0x1000;

/// A property; of several values the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Property<'d> {
    pub(super) id: u16,
    pub(super) kind: u16,
    pub(super) value: &'d [u8],
}

impl Property<'_> {
    /// Its text, if it is one. `code_page` is that of the message.
    pub(super) fn text(&self, code_page: u32) -> Option<String> {
        let charset: String = match self.kind {
            STRING8 => format!("cp{code_page}"),
            UNICODE => "utf-16le".to_string(),
            _ => return None,
        };
        let (mut text, _) = charset::decode_whole(charset.as_bytes(), self.value, TEXT_MAX);
        text.truncate(text.find('\0').unwrap_or(text.len()));
        Some(text).filter(|text| !text.is_empty())
    }

    /// Whether its value is octets or text of any length.
    pub(super) fn is_long(&self) -> bool {
        matches!(self.kind, STRING8 | UNICODE | BINARY | OBJECT)
    }
}

/// Why a list ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Cut,
    Garbage,
    TooMany,
}

/// Shows every property that has a number of its own; named ones are passed over.
pub(super) fn each<'d>(data: &'d [u8], see: &mut dyn FnMut(Property<'d>)) -> Result<(), Broken> {
    let mut reader = Reader { rest: data };
    let count = reader.word()?;
    for index in 0..count {
        if index as usize >= TNEF_ATTRIBUTES_MAX {
            return Err(Broken::TooMany);
        }
        let tag = reader.word()?;
        // Type below, number above.
        let (kind, id) = (tag as u16, (tag >> 16) as u16);
        if id >= 0x8000 {
            reader.name()?;
        }
        let value = reader.values(kind)?;
        if id < 0x8000 {
            see(Property { id, kind: kind & !MULTIPLE, value });
        }
    }
    Ok(())
}

struct Reader<'d> {
    rest: &'d [u8],
}

impl<'d> Reader<'d> {
    fn take(&mut self, count: usize) -> Result<&'d [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Broken::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, Broken> {
        let octets = self.take(4)?.first_chunk::<4>().ok_or(Broken::Cut)?;
        Ok(u32::from_le_bytes(*octets))
    }

    /// Octets with their length before them, and zeros up to a multiple of four behind.
    fn counted(&mut self) -> Result<&'d [u8], Broken> {
        let length = self.word()? as usize;
        let value = self.take(length)?;
        // At the very end some writers leave the zeros out.
        let padding = length.next_multiple_of(4) - length;
        self.take(padding.min(self.rest.len()))?;
        Ok(value)
    }

    /// The name of a property without a number of its own: a space of names, and a number or text.
    fn name(&mut self) -> Result<(), Broken> {
        self.take(16)?;
        match self.word()? {
            0 => self.word().map(drop),
            1 => self.counted().map(drop),
            _ => Err(Broken::Garbage),
        }
    }

    /// The first value.
    fn values(&mut self, kind: u16) -> Result<&'d [u8], Broken> {
        let single = kind & !MULTIPLE;
        let size = match single {
            0 | 1 => Some(0),
            2 | 3 | 4 | 0x0a | 0x0b => Some(4),
            5 | 6 | 7 | 0x14 | 0x40 => Some(8),
            0x48 => Some(16),
            STRING8 | UNICODE | BINARY | OBJECT => None,
            _ => return Err(Broken::Garbage),
        };
        let count = if kind & MULTIPLE != 0 || size.is_none() { self.word()? } else { 1 };
        let mut first = None;
        match size {
            Some(size) => {
                let all = (count as usize).checked_mul(size).ok_or(Broken::Cut)?;
                let values = self.take(all)?;
                first = values.get(..size);
            }
            None => {
                for _ in 0..count {
                    let value = self.counted()?;
                    first = first.or(Some(value));
                }
            }
        }
        Ok(first.unwrap_or_default())
    }
}
