//! Messages as octets: header fields, MIME parts, TNEF, zip archives, URIs, edits, added text, dates, fields that we write.
//!
//! Everything works on one `&[u8]` with CR LF line ends and keeps offsets, not copies. What a broken
//! message means is decided once (`headers`), so that filters, signatures and the reader's mail client
//! see the same mail.

pub mod attached;
pub mod authres;
pub mod date;
pub mod edit;
pub mod extend;
pub mod fold;
pub mod headers;
pub mod mime;
pub mod new_body;
pub mod packed;
pub mod received;
pub mod stored;
pub mod tnef;
pub mod unpack;
pub mod uri;
pub mod zip;
