//! What Outlook packs into `winmail.dat` (MS-OXTNEF): attachments, the text of the message, messages within.
//!
//! Readers with Outlook see it, everybody else sees one file. So filters have to look into it, and so does
//! who unpacks it for the reader. A stream is a row of attributes with length and checksum; an attachment
//! begins with one of them, and has its name and octets in others or in a list of properties (`mapi`).
//!
//! Nothing is copied but names. What is wrong is a fact ([`Fault`]), and what stood before it is given, as
//! other readers do; only a stream of which nothing can be read is an error.

#[cfg(any(test, fuzzing))]
mod fuzz;
mod mapi;
pub mod rtf;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;

use super::mime::{Fault, Faults, charset};
use crate::limits::{TNEF_ATTACHMENTS_MAX, TNEF_ATTRIBUTES_MAX, TNEF_DEPTH_MAX, TNEF_TEXT_MAX};
use mapi::{Broken, Property};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// How a stream begins.
pub const SIGNATURE: [u8; 4] = [0x78, 0x9f, 0x3e, 0x22];

/// Octets before and behind an attribute's value: level, number, length; checksum.
const HEAD: usize = 9;
const CHECKSUM: usize = 2;

/// Contents, and further names, of one attachment that are kept; there are one or two.
const CONTENTS_MAX: usize = 16;

/// The code page of Western Windows, where a stream names none.
const CODE_PAGE: u32 = 1_252;

/// Interfaces of objects (MS-OXTNEF 2.1.3.4.1.2), as they stand in the stream.
const MESSAGE_INTERFACE: [u8; 16] = [7, 3, 2, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46];

/// Attributes (MS-OXTNEF 2.1.3.3): their types above, their numbers below.
mod attribute {
    pub(super) const BODY: u32 = 0x0002_800c;
    pub(super) const MESSAGE_CLASS: u32 = 0x0007_8008;
    pub(super) const CODE_PAGE: u32 = 0x0006_9007;
    pub(super) const PROPERTIES: u32 = 0x0006_9003;
    pub(super) const RENDERING: u32 = 0x0006_9002;
    pub(super) const TITLE: u32 = 0x0001_8010;
    pub(super) const DATA: u32 = 0x0006_800f;
    pub(super) const TRANSPORT_NAME: u32 = 0x0006_9001;
    pub(super) const ATTACHMENT: u32 = 0x0006_9005;
}

/// Properties (MS-OXPROPS).
mod property {
    pub(super) const MESSAGE_CLASS: u16 = 0x001a;
    pub(super) const BODY: u16 = 0x1000;
    pub(super) const RTF: u16 = 0x1009;
    pub(super) const HTML: u16 = 0x1013;
    pub(super) const DISPLAY_NAME: u16 = 0x3001;
    pub(super) const DATA: u16 = 0x3701;
    pub(super) const FILE_NAME: u16 = 0x3704;
    pub(super) const LONG_NAME: u16 = 0x3707;
    pub(super) const TRANSPORT_NAME: u16 = 0x370c;
    pub(super) const MIME_TYPE: u16 = 0x370e;
    pub(super) const CONTENT_ID: u16 = 0x3712;
    pub(super) const CODE_PAGE: u16 = 0x3fde;
}

/// It is no TNEF, or nothing of it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTnef;

/// A stream taken apart.
#[derive(Clone, Debug)]
pub struct Tnef<'d> {
    /// In their order.
    pub attachments: Vec<Attachment<'d>>,
    /// What kind of thing it is: `IPM.Note` is a mail.
    pub message_class: Option<String>,
    /// The text as HTML.
    pub html: Option<Cow<'d, [u8]>>,
    /// The text as rich text, compressed (see `rtf`).
    pub rtf: Option<&'d [u8]>,
    /// The text.
    pub text: Option<Cow<'d, [u8]>>,
    /// The code page of Windows of names and texts that are not Unicode.
    pub code_page: u32,
    /// That of the text as HTML, if it is named.
    pub html_code_page: Option<u32>,
    /// What is wrong.
    pub faults: Faults,
}

/// An attachment of a stream.
#[derive(Clone, Debug, Default)]
pub struct Attachment<'d> {
    /// The name as its sender sees it.
    pub long_name: Option<String>,
    /// The name in eight and three letters, or the whole one.
    pub title: Option<String>,
    /// Other names: to display, and on the way.
    pub other_names: Vec<String>,
    /// The type that the sender gave it.
    pub mime_type: Option<String>,
    /// What HTML refers to it by.
    pub content_id: Option<String>,
    /// What it holds. Where it is a message, the first is often a note that it is one.
    pub contents: Vec<Content<'d>>,
    too_much: bool,
}

/// What an attachment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'d> {
    /// A file.
    File(&'d [u8]),
    /// A message, as a TNEF stream of its own.
    Message(&'d [u8]),
    /// An object of OLE, mostly a picture inside the text.
    Object {
        /// What can read it.
        interface: [u8; 16],
        /// A compound file as a rule.
        data: &'d [u8],
    },
}

impl<'d> Content<'d> {
    fn object(value: &'d [u8]) -> Content<'d> {
        match value.split_first_chunk::<16>() {
            Some((interface, data)) if *interface == MESSAGE_INTERFACE => Content::Message(data),
            Some((interface, data)) => Content::Object { interface: *interface, data },
            None => Content::File(value),
        }
    }

    /// Its octets.
    pub fn data(&self) -> &'d [u8] {
        match self {
            Content::File(data) | Content::Message(data) | Content::Object { data, .. } => data,
        }
    }
}

impl Attachment<'_> {
    /// The name that a reader sees.
    pub fn name(&self) -> Option<&str> {
        self.names().next()
    }

    /// Every name that some program could take, the likeliest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let first = self.long_name.iter().chain(&self.title);
        first.chain(&self.other_names).map(String::as_str)
    }
}

impl<'d> Tnef<'d> {
    /// Reads a stream.
    ///
    /// # Errors
    /// When it does not begin like one, or not even its first attribute is whole.
    pub fn parse(data: &'d [u8]) -> Result<Tnef<'d>, NotTnef> {
        let rest = data.strip_prefix(&SIGNATURE).and_then(|rest| rest.get(2..)).ok_or(NotTnef)?;
        let mut tnef = Tnef {
            attachments: Vec::new(),
            message_class: None,
            html: None,
            rtf: None,
            text: None,
            code_page: CODE_PAGE,
            html_code_page: None,
            faults: Faults::default(),
        };
        let (mut rest, mut count) = (rest, 0);
        while !rest.is_empty() && count < TNEF_ATTRIBUTES_MAX {
            let Some(length) = tnef.attribute(rest) else { break };
            rest = rest.get(length..).unwrap_or_default();
            count += 1;
        }
        let many = !rest.is_empty() && count >= TNEF_ATTRIBUTES_MAX;
        let much = tnef.attachments.iter().any(|attachment| attachment.too_much);
        tnef.faults.insert_if(Fault::TnefTooMuch, many || much);
        if count == 0 { Err(NotTnef) } else { Ok(tnef) }
    }

    /// Reads the attribute at the start and gives its length; none if it is not whole.
    fn attribute(&mut self, rest: &'d [u8]) -> Option<usize> {
        let word = |at: usize| {
            let octets = rest.get(at..at + 4)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*octets))
        };
        let level = *rest.first()?;
        let head = word(1).zip(word(5)).filter(|_| matches!(level, 1 | 2));
        let Some((number, length)) = head else {
            // Writers leave a line end behind the last attribute.
            let blank = rest.trim_ascii().is_empty();
            self.faults.insert_if(Fault::TnefGarbage, !blank && !matches!(level, 1 | 2));
            self.faults.insert_if(Fault::TnefCut, matches!(level, 1 | 2));
            return None;
        };
        let end = (length as usize).saturating_add(HEAD);
        let (Some(value), Some(checksum)) =
            (rest.get(HEAD..end), rest.get(end..end.saturating_add(CHECKSUM)))
        else {
            self.faults.insert(Fault::TnefCut);
            return None;
        };
        // The sum of all octets, of which 16 bits are kept.
        let sum = value.iter().fold(0_u16, |sum, octet| sum.wrapping_add(u16::from(*octet)));
        self.faults.insert_if(Fault::TnefChecksum, *checksum != sum.to_le_bytes());
        self.take(level, number, value);
        Some(end + CHECKSUM)
    }

    fn take(&mut self, level: u8, number: u32, value: &'d [u8]) {
        if level == 2 {
            return self.take_attachment(number, value);
        }
        match number {
            attribute::CODE_PAGE => {
                let page = value.first_chunk::<4>().map(|octets| u32::from_le_bytes(*octets));
                self.code_page = page.filter(|page| *page != 0).unwrap_or(self.code_page);
            }
            attribute::MESSAGE_CLASS => {
                let class = self.text(value);
                self.message_class = self.message_class.take().or(class);
            }
            attribute::BODY => self.text = Some(Cow::Borrowed(without_nul(value))),
            attribute::PROPERTIES => {
                let list = mapi::each(value, &mut |property| self.property(&property));
                self.broken(list);
            }
            _ => {}
        }
    }

    fn property(&mut self, property: &Property<'d>) {
        match property.id {
            property::MESSAGE_CLASS => {
                self.message_class = property.text(self.code_page).or(self.message_class.take());
            }
            property::RTF if property.is_long() => self.rtf = Some(property.value),
            property::HTML if property.is_long() => self.html = Some(body(property)),
            property::BODY if property.is_long() => self.text = Some(body(property)),
            property::CODE_PAGE => {
                self.html_code_page = property.value.first_chunk().map(|o| u32::from_le_bytes(*o));
            }
            _ => {}
        }
    }

    fn take_attachment(&mut self, number: u32, value: &'d [u8]) {
        if number == attribute::RENDERING || self.attachments.is_empty() {
            if self.attachments.len() >= TNEF_ATTACHMENTS_MAX {
                self.faults.insert(Fault::TnefTooMuch);
                return;
            }
            self.attachments.push(Attachment::default());
        }
        let name = self.text(value);
        let code_page = self.code_page;
        let Some(attachment) = self.attachments.last_mut() else { return };
        match number {
            attribute::TITLE => attachment.title = name.or(attachment.title.take()),
            attribute::TRANSPORT_NAME => attachment.add_name(name),
            attribute::DATA => attachment.add(Content::File(value)),
            attribute::ATTACHMENT => {
                let list =
                    mapi::each(value, &mut |property| attachment.property(&property, code_page));
                self.broken(list);
            }
            _ => {}
        }
    }

    fn broken(&mut self, list: Result<(), Broken>) {
        match list {
            Ok(()) => {}
            Err(Broken::Cut) => self.faults.insert(Fault::TnefCut),
            Err(Broken::Garbage) => self.faults.insert(Fault::TnefGarbage),
            Err(Broken::TooMany) => self.faults.insert(Fault::TnefTooMuch),
        }
    }

    /// A name or the like in the stream's code page.
    fn text(&self, value: &[u8]) -> Option<String> {
        let kind = 0x1e;
        Property { id: 0, kind, value }.text(self.code_page)
    }
}

impl<'d> Attachment<'d> {
    fn add(&mut self, content: Content<'d>) {
        if self.contents.len() < CONTENTS_MAX {
            self.contents.push(content);
        } else {
            self.too_much = true;
        }
    }

    fn add_name(&mut self, name: Option<String>) {
        if self.other_names.len() < CONTENTS_MAX {
            self.other_names.extend(name);
        }
    }

    fn property(&mut self, property: &Property<'d>, code_page: u32) {
        let text = || property.text(code_page);
        match property.id {
            property::LONG_NAME => self.long_name = text().or(self.long_name.take()),
            property::FILE_NAME | property::TRANSPORT_NAME | property::DISPLAY_NAME => {
                self.add_name(text());
            }
            property::MIME_TYPE => self.mime_type = text().or(self.mime_type.take()),
            property::CONTENT_ID => self.content_id = text().or(self.content_id.take()),
            property::DATA if property.kind == mapi::OBJECT => {
                self.add(Content::object(property.value));
            }
            property::DATA if property.is_long() => {
                self.add(Content::File(property.value));
            }
            _ => {}
        }
    }
}

/// A text of the message, in UTF-8 if it is Unicode.
fn body<'d>(property: &Property<'d>) -> Cow<'d, [u8]> {
    if property.kind != 0x1f {
        return Cow::Borrowed(without_nul(property.value));
    }
    let (text, _) = charset::decode_whole(b"utf-16le", property.value, TNEF_TEXT_MAX);
    Cow::Owned(text.trim_end_matches('\0').as_bytes().to_vec())
}

/// Without the NUL that ends a text.
fn without_nul(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\0").unwrap_or(text)
}

/// A file that a stream holds, or a message in it.
#[derive(Debug)]
pub struct File<'a> {
    /// Its likeliest name; texts of a message have none.
    pub name: Option<&'a str>,
    /// The attachment that it is of; none for texts of a message.
    pub attachment: Option<&'a Attachment<'a>>,
    /// What of the attachment it is.
    pub content: Option<Content<'a>>,
    /// Its type, as the sender gave it or as follows from what it is; may be unknown.
    pub mime_type: Option<&'a str>,
    /// Its octets.
    pub data: &'a [u8],
    /// In how many messages within the stream it lies.
    pub depth: usize,
}

/// Shows every file in a stream, and in the messages in it, until `see` breaks off.
///
/// # Errors
/// When the outermost stream is none.
pub fn each_file(
    data: &[u8],
    see: &mut dyn FnMut(&File<'_>) -> ControlFlow<()>,
) -> Result<Faults, NotTnef> {
    let outer = Tnef::parse(data)?;
    let mut faults = Faults::default();
    let mut waiting = vec![(outer, 0)];
    while let Some((tnef, depth)) = waiting.pop() {
        faults.extend(tnef.faults);
        if texts(&tnef, depth, &mut faults, see).is_break() {
            return Ok(faults);
        }
        for attachment in &tnef.attachments {
            for content in &attachment.contents {
                let file = File {
                    name: attachment.name(),
                    attachment: Some(attachment),
                    content: Some(*content),
                    mime_type: attachment.mime_type.as_deref(),
                    data: content.data(),
                    depth,
                };
                if see(&file).is_break() {
                    return Ok(faults);
                }
                let Content::Message(inner) = content else { continue };
                let room = depth < TNEF_DEPTH_MAX && waiting.len() < TNEF_ATTACHMENTS_MAX;
                match Tnef::parse(inner) {
                    Ok(inner) if room => waiting.push((inner, depth + 1)),
                    Ok(_) => faults.insert(Fault::TnefTooMuch),
                    Err(NotTnef) => faults.insert(Fault::TnefGarbage),
                }
            }
        }
    }
    Ok(faults)
}

/// Shows the texts of a message.
fn texts(
    tnef: &Tnef<'_>,
    depth: usize,
    faults: &mut Faults,
    see: &mut dyn FnMut(&File<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut show = |mime_type, data: &[u8]| {
        see(&File {
            name: None,
            attachment: None,
            content: None,
            mime_type: Some(mime_type),
            data,
            depth,
        })
    };
    if let Some(text) = &tnef.text {
        show("text/plain", text)?;
    }
    if let Some(html) = &tnef.html {
        show("text/html", html)?;
    }
    match tnef.rtf.map(|packed| rtf::decompress(packed, TNEF_TEXT_MAX)) {
        Some(Ok(text)) => show("text/rtf", &text),
        Some(Err(rtf::RtfError::TooLarge)) => {
            faults.insert(Fault::TnefTooMuch);
            ControlFlow::Continue(())
        }
        Some(Err(_)) => {
            faults.insert(Fault::TnefGarbage);
            ControlFlow::Continue(())
        }
        None => ControlFlow::Continue(()),
    }
}
