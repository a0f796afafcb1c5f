//! What is wrong with a message, as facts that others judge.

/// One way in which a message leaves the rules of MIME. Each is a reason for two programs to read the
/// message differently, or for a part of it not to have been read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A line in a part's header that is no field.
    HeaderGarbage,
    /// A header over the bounds; what is over them was taken for body.
    HeaderTooLarge,
    /// A bare LF ends a line of a header or before a delimiter.
    BareLf,
    /// Octets above 127 in a parameter.
    EightBitHeader,
    /// A NUL in a part's header, where programs in C stop reading.
    NulInHeader,
    /// No empty line between a part's header and its body.
    NoBlankLine,
    /// Content-Type stands there more than once.
    TypeTwice,
    /// A Content-Type without a type, or without a subtype.
    BadType,
    /// Content-Disposition stands there more than once.
    DispositionTwice,
    /// More parameters than are looked at, or a longer value than is kept.
    ManyParameters,
    /// A parameter stands there more than once.
    ParameterTwice,
    /// A number is missing between the pieces of a parameter (RFC 2231 section 3).
    ParameterGap,
    /// A quote that does not end.
    OpenQuote,
    /// Text directly behind a quoted value.
    ParameterTail,
    /// A blank in a value without quotes.
    UnquotedBlank,
    /// A charset that nobody knows.
    UnknownCharset,
    /// Content-Transfer-Encoding stands there more than once.
    EncodingTwice,
    /// A Content-Transfer-Encoding that nobody knows; the body was taken as it stands.
    UnknownEncoding,
    /// A multipart or message with a Content-Transfer-Encoding, which RFC 2045 section 6.4 forbids.
    EncodedContainer,
    /// A multipart without a boundary parameter; the first line that looks like a delimiter gave it.
    NoBoundary,
    /// A multipart with several boundaries; all were looked for.
    BoundaryTwice,
    /// A multipart uses the boundary of one around it, or one that differs by hyphens at its end.
    BoundaryReused,
    /// A multipart without any delimiter: its body was taken as a whole.
    NoDelimiter,
    /// Delimiters were found only by their beginning.
    LooseDelimiter,
    /// A multipart that is not closed.
    NotClosed,
    /// Parts behind the end of a multipart.
    PartBehindEnd,
    /// Text before the first part that is not blank.
    Preamble,
    /// Text behind the last part that is not blank.
    Epilogue,
    /// A message/partial: a fragment that a client puts together with others (RFC 2046 section 5.2.2).
    Partial,
    /// A message/external-body: a pointer that a client follows (RFC 2046 section 5.2.3).
    ExternalBody,
    /// A container at the bound of depth was not taken apart.
    TooDeep,
    /// There are more parts than the bound; the rest was not taken apart.
    TooManyParts,
    /// An encoded container is larger than what is unpacked; its end was not taken apart.
    TooLargeToUnpack,
    /// Octets in base64 that do not belong there.
    Base64Junk,
    /// Base64 goes on behind its padding, or pads nothing.
    Base64Padding,
    /// Base64 ends within a group.
    Base64Cut,
    /// An `=` in quoted-printable that is no escape.
    QuotedJunk,
    /// A uuencoded file that does not begin or not end.
    UuencodeCut,
    /// A line in uuencode that is none.
    UuencodeJunk,
    /// TNEF whose checksum is wrong.
    TnefChecksum,
    /// TNEF that ends within an attribute or a property.
    TnefCut,
    /// Something in TNEF that is no attribute, or no property.
    TnefGarbage,
    /// More in TNEF than is looked at, or deeper.
    TnefTooMuch,
}

/// A set of faults.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults(u64);

impl Faults {
    /// Adds one.
    pub fn insert(&mut self, fault: Fault) {
        self.0 |= 1 << fault as u8;
    }

    /// Adds one if it is so.
    pub(in crate::mail) fn insert_if(&mut self, fault: Fault, so: bool) {
        if so {
            self.insert(fault);
        }
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: Faults) {
        self.0 |= other.0;
    }

    /// Whether it is there.
    pub fn contains(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u8 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All that are there.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        ALL.iter().copied().filter(move |fault| self.contains(*fault))
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// In the order of their numbers.
const ALL: [Fault; 43] = {
    use Fault::*;
    [
        HeaderGarbage,
        HeaderTooLarge,
        BareLf,
        EightBitHeader,
        NulInHeader,
        NoBlankLine,
        TypeTwice,
        BadType,
        DispositionTwice,
        ManyParameters,
        ParameterTwice,
        ParameterGap,
        OpenQuote,
        ParameterTail,
        UnquotedBlank,
        UnknownCharset,
        EncodingTwice,
        UnknownEncoding,
        EncodedContainer,
        NoBoundary,
        BoundaryTwice,
        BoundaryReused,
        NoDelimiter,
        LooseDelimiter,
        NotClosed,
        PartBehindEnd,
        Preamble,
        Epilogue,
        Partial,
        ExternalBody,
        TooDeep,
        TooManyParts,
        TooLargeToUnpack,
        Base64Junk,
        Base64Padding,
        Base64Cut,
        QuotedJunk,
        UuencodeCut,
        UuencodeJunk,
        TnefChecksum,
        TnefCut,
        TnefGarbage,
        TnefTooMuch,
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let mut all = Faults::default();
        assert!(all.is_empty());
        for (index, fault) in ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
            assert!(!all.contains(fault));
            all.insert(fault);
        }
        assert_eq!(all.iter().count(), ALL.len());
        let mut two = Faults::default();
        two.insert(Fault::BareLf);
        two.insert_if(Fault::TooDeep, true);
        two.insert_if(Fault::NotClosed, false);
        assert_eq!(format!("{two:?}"), "{BareLf, TooDeep}");
        two.extend(all);
        assert_eq!(two, all);
    }
}
