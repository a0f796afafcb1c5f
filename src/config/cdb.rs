//! Reader of D. J. Bernstein's constant database, in which qpsmtpd keeps its large maps
//! (`morercpthosts.cdb`, `morerelayclients.cdb`).
//!
//! The file is 256 pairs of (position, slots) of hash tables, the records (key length, data length,
//! key, data), and the tables of (hash, position of a record), all numbers 32 bits with the low
//! octet first. It was written by somebody else's program and may be damaged, so every number in it
//! is checked where it is used, and tables in which a look-up could take long are refused at once.

/// Octets of the table of tables at the start of a file.
const HEAD_LEN: usize = 2_048;

/// Most used slots in a row. Tables are half empty, so a row in a file that was made properly has
/// some tens of them; the bound is what one look-up may cost.
const RUN_MAX: usize = 4_096;

/// A database, whole in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cdb {
    data: Vec<u8>,
}

impl Cdb {
    /// Takes the content of a `.cdb` file. An error says in words why it is none.
    pub fn new(data: Vec<u8>) -> Result<Cdb, &'static str> {
        if data.len() < HEAD_LEN {
            return Err("is no cdb file: it is shorter than a cdb's head");
        }
        let cdb = Cdb { data };
        let tables = (0..256).map(|table| cdb.table(table)).collect::<Result<Vec<_>, _>>()?;
        // Only tables that do not lie over one another can be checked in linear time.
        let slots = tables.iter().map(|(_, slots)| slots).sum::<usize>();
        if slots > (cdb.data.len() - HEAD_LEN) / 8 {
            return Err("is a damaged cdb file: its tables overlap");
        }
        if tables.iter().any(|&(position, slots)| cdb.is_too_full(position, slots)) {
            return Err("is a damaged cdb file: a table is too full");
        }
        Ok(cdb)
    }

    /// The data of the first record with this key.
    pub fn find(&self, key: &[u8]) -> Option<&[u8]> {
        let wanted = hash(key);
        let (position, slots) = self.pair(usize::from(wanted.to_le_bytes()[0]) * 8)?;
        let first = usize::try_from(wanted >> 8).ok()?.checked_rem(slots)?;
        for slot in (first..slots).chain(0..first) {
            let (found, record) = self.slot(position, slot)?;
            if record == 0 {
                return None;
            }
            if found == wanted
                && let Some(data) = self.record_with(record, key)
            {
                return Some(data);
            }
        }
        None
    }

    /// The data of the record at a position, if its key is this one.
    fn record_with(&self, position: usize, key: &[u8]) -> Option<&[u8]> {
        let (key_len, data_len) = self.pair(position)?;
        let rest = self.data.get(position.checked_add(8)?..)?;
        let (found, rest) = rest.split_at_checked(key_len)?;
        (found == key).then(|| rest.get(..data_len)).flatten()
    }

    /// Position and slots of a table, which must lie within the file.
    fn table(&self, table: usize) -> Result<(usize, usize), &'static str> {
        let (position, slots) = self.pair(table * 8).unwrap_or_default();
        let end = slots.checked_mul(8).and_then(|len| len.checked_add(position));
        let inside = position >= HEAD_LEN && end.is_some_and(|end| end <= self.data.len());
        if slots > 0 && !inside {
            return Err("is a damaged cdb file: a table lies outside it");
        }
        Ok((position, slots))
    }

    /// Whether a look-up in this table could take long.
    fn is_too_full(&self, position: usize, slots: usize) -> bool {
        // A row may go on at the start of the table, so the start is looked at twice.
        let mut run = 0;
        (0..slots).chain(0..slots.min(RUN_MAX)).any(|slot| {
            let used = self.slot(position, slot).is_some_and(|(_, record)| record > 0);
            run = if used { run + 1 } else { 0 };
            run > RUN_MAX
        })
    }

    /// Hash and position of a record in a slot of the table at `position`.
    fn slot(&self, position: usize, slot: usize) -> Option<(u32, usize)> {
        let at = slot.checked_mul(8)?.checked_add(position)?;
        Some((self.number(at)?, usize::try_from(self.number(at + 4)?).ok()?))
    }

    fn pair(&self, at: usize) -> Option<(usize, usize)> {
        let first = usize::try_from(self.number(at)?).ok()?;
        Some((first, usize::try_from(self.number(at.checked_add(4)?)?).ok()?))
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.data.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
    }
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, &b| hash.wrapping_mul(33) ^ u32::from(b))
}

/// Writes a database of pairs of key and data, for tests.
#[cfg(any(test, fuzzing))]
pub fn write(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut head = Vec::new();
    let mut body = Vec::new();
    let mut places = Vec::new();
    for (key, data) in pairs {
        places.push((hash(key), HEAD_LEN + body.len()));
        body.extend([number(key.len()), number(data.len())].concat());
        body.extend([*key, *data].concat());
    }
    for table in 0..=255 {
        let mine = places.iter().filter(|(hash, _)| hash.to_le_bytes().first() == Some(&table));
        let mine = mine.collect::<Vec<_>>();
        let mut slots = vec![(0, 0); 2 * mine.len()];
        head.extend([number(HEAD_LEN + body.len()), number(slots.len())].concat());
        for place in mine {
            let first = usize::try_from(place.0 >> 8).unwrap_or(0) % slots.len();
            let (before, after) = slots.split_at_mut(first);
            if let Some(free) = after.iter_mut().chain(before).find(|slot| slot.1 == 0) {
                *free = *place;
            }
        }
        for (hash, place) in slots {
            body.extend([hash.to_le_bytes(), number(place)].concat());
        }
    }
    head.extend(body);
    head
}

/// Reads the octets as a database, and again a database made of them, cut into keys at each 0.
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let words = data.split(|&b| b == 0).take(1_000).collect::<Vec<_>>();
    if let Ok(cdb) = Cdb::new(data.to_vec()) {
        for word in &words {
            assert!(cdb.find(word).is_none_or(|found| found.len() <= data.len()));
        }
    }
    let pairs = words.iter().map(|word| (*word, data)).take(20).collect::<Vec<_>>();
    let own = Cdb::new(write(&pairs));
    for (key, value) in pairs {
        assert_eq!(own.as_ref().map(|cdb| cdb.find(key)), Ok(Some(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the reference shape: one record, made by hand.
    fn one() -> Vec<u8> {
        write(&[(b"one", b"Hello")])
    }

    #[test]
    fn the_format_is_that_of_the_original() {
        // h("one") = ((5381*33 ^ 'o')*33 ^ 'n')*33 ^ 'e' in 32 bits.
        assert_eq!(hash(b""), 5381);
        assert_eq!(hash(b"a"), 177_604);
        let file = one();
        assert_eq!(file.len(), 2_048 + 8 + 8 + 16);
        assert_eq!(file[2_048..2_064], *b"\x03\0\0\0\x05\0\0\0oneHello");
        let slot = usize::try_from(hash(b"one") % 256).unwrap() * 8;
        assert_eq!(file[slot..slot + 8], [0x10, 8, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn records_are_found() {
        let names = (0..500).map(|n| format!("host{n}.example.com")).collect::<Vec<_>>();
        let mut pairs =
            names.iter().map(|n| (n.as_bytes(), &n.as_bytes()[..n.len() / 2])).collect::<Vec<_>>();
        pairs.extend([
            (&b""[..], &b"empty"[..]),
            (b"__proto__", b""),
            (b"host1.example.com", b"again"),
        ]);
        let cdb = Cdb::new(write(&pairs)).unwrap();
        for name in &names {
            assert_eq!(cdb.find(name.as_bytes()), Some(&name.as_bytes()[..name.len() / 2]));
        }
        for (key, data) in [
            ("", Some("empty")),
            ("__proto__", Some("")),
            ("host500.example.com", None),
            ("HOST1.example.com", None),
            ("constructor", None),
        ] {
            assert_eq!(cdb.find(key.as_bytes()), data.map(str::as_bytes), "{key}");
        }
        assert_eq!(Cdb::new(write(&[])).unwrap().find(b"x"), None);
    }

    #[test]
    fn damaged_files_are_refused_or_harmless() {
        let short = vec![0; 2_047];
        let mut outside = vec![0; 2_048];
        outside[4] = 1;
        let mut huge = vec![255; 2_048];
        huge.extend([0; 8]);
        let mut full = vec![0; 2_048];
        full[..8].copy_from_slice(&[0, 8, 0, 0, 0, 32, 0, 0]);
        full.extend([1; 8 * 8_192]);
        let mut overlap = vec![0; 2_048];
        for table in overlap.chunks_mut(8) {
            table.copy_from_slice(&[0, 8, 0, 0, 2, 0, 0, 0]);
        }
        overlap.extend([0; 16]);
        for (data, part) in [
            (short, "shorter"),
            (outside, "outside"),
            (huge, "outside"),
            (full, "too full"),
            (overlap, "overlap"),
        ] {
            assert!(Cdb::new(data).unwrap_err().contains(part), "{part}");
        }
        for cut in 2_048..one().len() {
            assert!(Cdb::new(one()[..cut].to_vec()).is_err(), "{cut}");
        }
        for (place, value) in [(2_048, 255), (2_051, 255), (2_052, 255), (2_055, 255), (2_056, 0)] {
            let mut file = one();
            file[place] = value;
            assert_eq!(Cdb::new(file).unwrap().find(b"one"), None, "{place}");
        }
        // A table without a free slot ends the search after one round.
        let mut file = one();
        let slots = file.len() - 16;
        for slot in file[slots..].chunks_mut(8) {
            slot.copy_from_slice(&[9; 8]);
        }
        assert_eq!(Cdb::new(file).unwrap().find(b"one"), None);
    }

    #[test]
    fn no_octets_confuse_the_reader() {
        for data in [&b""[..], b"a\0b\0\0", &[7; 3_000], &one(), &[0; 4_096]] {
            fuzz(data);
        }
    }
}
