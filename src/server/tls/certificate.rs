//! What a certificate says of itself (RFC 5280): its end, and whose it is. And a first one of our own.
//!
//! Only the few fields that are shown to people are read, by a reader of DER that knows lengths and
//! nothing else. Nothing is trusted because of it.

use crate::limits;
use std::time::Duration;

/// Object identifier of the common name, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Object identifier of the alternative names, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const IDENTIFIER: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]` and `[3]` of a certificate, and the DNS name among alternative names.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;

/// How long our own certificates hold.
const OWN_YEARS: i64 = 10;

/// The parts of a certificate that are of interest.
pub(super) struct Certificate<'a> {
    not_after: (u8, &'a [u8]),
    subject: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads the outer parts of a certificate.
    pub(super) fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
        let mut body = Reader(certificate.expect(SEQUENCE)?);
        body.skip_if(VERSION)?;
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            body.next()?;
        }
        let mut validity = Reader(body.expect(SEQUENCE)?);
        validity.next()?;
        let not_after = validity.next()?;
        let subject = body.expect(SEQUENCE)?;
        // The key; two identifiers that nobody uses; then extensions.
        let mut extensions: &[u8] = &[];
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                extensions = Reader(content).expect(SEQUENCE)?;
            }
        }
        Some(Certificate { not_after, subject, extensions })
    }

    /// When it ends, since 1970.
    pub(super) fn not_after(&self) -> Option<Duration> {
        let (tag, text) = self.not_after;
        let text = std::str::from_utf8(text).ok()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year: i64 = year.parse().ok()?;
                (if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
        let (month, day) = (number(0)?, number(2)?);
        let seconds = number(4)? * 3_600 + number(6)? * 60 + number(8)?;
        let days = days_from_civil(year, month, day)?;
        u64::try_from(days * 86_400 + seconds).ok().map(Duration::from_secs)
    }

    /// The subject's common name, or else the first DNS name. Printable characters only, bounded.
    pub(super) fn name(&self) -> Option<String> {
        let octets = self.common_name().or_else(|| self.dns_name())?;
        let text = String::from_utf8_lossy(octets);
        let name: String =
            text.chars().filter(|c| !c.is_control()).take(limits::DOMAIN_MAX).collect();
        (!name.is_empty()).then_some(name)
    }

    fn common_name(&self) -> Option<&'a [u8]> {
        let mut names = Reader(self.subject);
        let mut found = None;
        while let Some((SET, set)) = names.next() {
            let mut pair = Reader(Reader(set).expect(SEQUENCE)?);
            if pair.expect(IDENTIFIER)? == COMMON_NAME {
                found = pair.next().map(|(_, value)| value);
            }
        }
        found
    }

    fn dns_name(&self) -> Option<&'a [u8]> {
        let mut extensions = Reader(self.extensions);
        while let Some((SEQUENCE, extension)) = extensions.next() {
            let mut extension = Reader(extension);
            if extension.expect(IDENTIFIER)? != ALTERNATIVE_NAMES {
                continue;
            }
            let value = std::iter::from_fn(|| extension.next()).find(|(tag, _)| *tag == OCTETS)?.1;
            let mut names = Reader(Reader(value).expect(SEQUENCE)?);
            return std::iter::from_fn(|| names.next())
                .find(|(tag, _)| *tag == DNS_NAME)
                .map(|it| it.1);
        }
        None
    }
}

/// Values of DER, one after the other. What is not well-formed ends it.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (digits, behind) = rest.split_at_checked(count)?;
            length = digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }

    fn skip_if(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1..=9_999).contains(&year) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// See [`super::self_signed`].
pub(super) fn self_signed(names: &[String], now: Duration) -> Result<(String, String), String> {
    let mut params = rcgen::CertificateParams::new(names.to_vec())
        .map_err(|error| format!("this name cannot stand in a certificate: {error}"))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = names.first() {
        params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
    }
    let year = 1_970 + i64::try_from(now.as_secs() / 31_556_952).unwrap_or(0);
    // From the first of the year, so that a clock that is a little late does no harm.
    let year_of = |year: i64| rcgen::date_time_ymd(i32::try_from(year).unwrap_or(2_050), 1, 1);
    params.not_before = year_of(year);
    params.not_after = year_of(year + OWN_YEARS);
    let key = rcgen::KeyPair::generate().map_err(|error| format!("making a key: {error}"))?;
    let certificate =
        params.self_signed(&key).map_err(|error| format!("making a certificate: {error}"))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        for (date, days) in [
            ((1_970, 1, 1), Some(0)),
            ((2_000, 3, 1), Some(11_017)),
            ((2_024, 2, 29), Some(19_782)),
            ((2_026, 11, 25), Some(20_782)),
            ((2_026, 13, 1), None),
        ] {
            assert_eq!(days_from_civil(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn nothing_in_a_certificate_confuses_the_reader() {
        let (pem, _) =
            self_signed(&["mx.example.com".to_string()], Duration::from_secs(1_795_000_000))
                .expect("a certificate");
        use rustls::pki_types::pem::PemObject;
        let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let whole = Certificate::parse(&der).expect("DER");
        assert_eq!(whole.name().as_deref(), Some("mx.example.com"));
        assert_eq!(whole.dns_name(), Some(&b"mx.example.com"[..]));
        assert_eq!(whole.not_after().map(|it| it.as_secs() / 86_400), Some(24_106));
        for end in 0..der.len() {
            let _ = Certificate::parse(&der[..end]).and_then(|cut| cut.name());
            let mut broken = der.to_vec();
            broken[end] ^= 0x81;
            let _ = Certificate::parse(&broken).map(|it| (it.name(), it.not_after()));
        }
    }
}
