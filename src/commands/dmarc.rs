//! `mailreeve dmarc`: what others report about our domains, as a table.

use crate::authn::dmarc::feedback::{Feedback, NotReport, OCTETS_MAX, Record};
use crate::authn::dmarc::report::xml;
use crate::commands::{DONE, Fault, NO, complain, folder, message, print, wants_help};
use crate::mail::date;
use crate::mail::mime::body::{BUFFER_MIN, Body};
use crate::mail::mime::{Role, Walker};
use crate::mail::packed::unpack;
use crate::mail::stored::with_crlf;
use crate::plugin::log::foreign;
use crate::plugins::load::{Strictness, load};
use crate::server::clock;
use crate::store::reports::read;
use lexopt::Arg;
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Usage: mailreeve dmarc show FILE...
       mailreeve dmarc report --dry-run [--day YYYY-MM-DD] [--config DIR]

show   prints the aggregate reports in each FILE (- for standard input), which
       others send about your domains (RFC 9990, RFC 7489): XML, plain or in gzip
       or ZIP, or the mail that it came with. A line for each client and result,
       with what was done, whether DKIM and SPF spoke for the author, and why.
       Exit code 1: some FILE holds no report that can be read.
report prints the reports (RFC 9990) about the mail of a day (UTC), yesterday's if
       none is named, one XML document behind the other. They are not sent yet, so
       --dry-run has to be said. What a report has no room for is said in it, and
       on standard error. Exit code 75: the database is busy.

  --config DIR     the config folder; else MAILREEVE_CONFIG, QPSMTPD_CONFIG,
                   /etc/mailreeve, /var/service/qpsmtpd/config
";

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Octets of a file.
const FILE_MAX: usize = 64 * 1_024 * 1_024;

/// Parts of a mail that are looked at.
const PARTS_MAX: usize = 32;

pub(super) fn run(mut parser: lexopt::Parser) -> Result<u8, Fault> {
    let (mut words, mut config, mut day, mut is_dry) = (Vec::new(), None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Err(wants_help()),
            Arg::Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("day") => day = Some(parser.value()?.to_string_lossy().into_owned()),
            Arg::Long("dry-run") => is_dry = true,
            Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["show", files @ ..] if !files.is_empty() => {
            let unread = files.iter().filter(|file| !show(file)).count();
            Ok(if unread == 0 { DONE } else { NO })
        }
        ["report"] if is_dry => report(config, day.as_deref()),
        ["report"] => Err(Fault::Usage("reports are not sent yet: say --dry-run".to_string())),
        _ => Err(Fault::Usage("say what: show FILE..., report --dry-run".to_string())),
    }
}

/// Prints our reports of a day.
fn report(config: Option<PathBuf>, day: Option<&str>) -> Result<u8, Fault> {
    let begin = match day {
        Some(day) => begin_of(day)
            .ok_or_else(|| Fault::Usage(format!("--day {day}: write YYYY-MM-DD, from 1970 on")))?,
        None => (clock::unix().as_secs() / DAY).saturating_sub(1) * DAY,
    };
    let files = folder::open(folder::find(config)?);
    let (site, _) = load(&files, &folder::defaults(), None, Strictness::Start);
    let Some(settings) = &site.store.reports else { return Ok(DONE) };
    let found = read::of_day(&settings.path, begin, &mut |report| {
        if let Some(error) = report.error() {
            complain(&format!("mailreeve dmarc: report {}: {error}\n", report.id));
        }
        print(&xml(report));
    });
    found.map(|()| DONE).map_err(|failure| {
        let what = failure.to_string();
        if what.contains("locked") { Fault::Later(what) } else { Fault::No(what) }
    })
}

/// The first second of a day as `YYYY-MM-DD`.
fn begin_of(day: &str) -> Option<u64> {
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let (year, rest) = day.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let month = months.split(' ').nth(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    let date = date::parse(format!("{day} {month} {year} 00:00:00 +0000").as_bytes())?;
    u64::try_from(date).ok()
}

/// Prints the reports of a file; false where there are none that can be read.
fn show(file: &str) -> bool {
    // One octet more shows that it is too large.
    let found = match message::read_within(file, FILE_MAX as u64 + 1) {
        Ok(octets) => reports(&octets).map_err(|what| format!("{file}: {what}")),
        Err(Fault::Usage(what) | Fault::No(what) | Fault::Later(what)) => Err(what),
    };
    match found {
        Ok(reports) => {
            reports.iter().for_each(|report| print(&table(report)));
            true
        }
        Err(what) => {
            complain(&format!("mailreeve dmarc: {what}\n"));
            false
        }
    }
}

/// The reports in a file or, where it is a mail, in the first of its parts that has some.
fn reports(octets: &[u8]) -> Result<Vec<Feedback>, String> {
    if octets.len() > FILE_MAX {
        return Err(NotReport::TooLarge.to_string());
    }
    if is_xml(octets) || is_packed(octets) {
        return of_file(octets);
    }
    let mail = with_crlf(octets);
    let mut walker = Walker::new(&mail);
    let (mut left, mut fault) = (PARTS_MAX, NotReport::Other.to_string());
    while let Some(content) = walker.next().filter(|_| left > 0) {
        left -= 1;
        let encoding = walker.parts().get(content.part).map(|part| part.encoding);
        let encoded = mail.get(content.range.clone()).unwrap_or_default();
        if let (Role::Body, Some(encoding)) = (content.role, encoding) {
            let part = decoded(Body::new(encoded, encoding));
            if is_xml(&part) || is_packed(&part) {
                match of_file(&part) {
                    Ok(reports) => return Ok(reports),
                    // Greetings in HTML look like XML too.
                    Err(what) => fault = what,
                }
            }
        }
    }
    Err(fault)
}

fn decoded(mut body: Body<'_>) -> Vec<u8> {
    let (mut out, mut buffer) = (Vec::new(), [0; 4 * BUFFER_MIN]);
    while let Some(piece) = body.next(&mut buffer) {
        out.extend_from_slice(piece);
    }
    out
}

fn of_file(octets: &[u8]) -> Result<Vec<Feedback>, String> {
    let parse = |xml: &[u8]| Feedback::parse(xml).map_err(|what| what.to_string());
    match unpack(octets, OCTETS_MAX).map_err(|what| what.to_string())? {
        Some(files) => files.iter().map(|file| parse(file)).collect(),
        None => Ok(vec![parse(octets)?]),
    }
}

fn is_packed(octets: &[u8]) -> bool {
    octets.starts_with(b"\x1f\x8b") || octets.starts_with(b"PK\x03\x04")
}

fn is_xml(octets: &[u8]) -> bool {
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
    octets.trim_ascii_start().starts_with(b"<")
}

/// A report as text. All of it was written by somebody else.
fn table(report: &Feedback) -> String {
    let shown = |text: &str| foreign(text.as_bytes());
    let messages: u64 = report.records.iter().fold(0, |sum, it| sum.saturating_add(it.count));
    let mut text = format!(
        "{} about {} (p={}), report {}\n{} to {}: {messages} messages\n",
        shown(&report.organisation),
        shown(&report.domain),
        shown(&report.policy),
        shown(&report.id),
        date::format(report.begin, 0),
        date::format(report.end, 0),
    );
    text.push_str(&line(["Client", "Count", "Done", "DKIM", "SPF", "From", "Results"]));
    for record in &report.records {
        let Record { ip, disposition, dkim, spf, from, .. } = record;
        let results = [record.results.join(", "), record.reasons.join(", ")];
        let results = results.iter().filter(|part| !part.is_empty());
        let results = results.map(|part| shown(part)).collect::<Vec<_>>().join("; ");
        let [ip, done, dkim, spf, from] = [ip, disposition, dkim, spf, from].map(|it| shown(it));
        let count = record.count.to_string();
        text.push_str(&line([&ip, &count, &done, &dkim, &spf, &from, &results]));
    }
    text.push('\n');
    text
}

fn line([ip, count, done, dkim, spf, from, results]: [&str; 7]) -> String {
    format!("{ip:<39} {count:>7} {done:<10} {dkim:<5} {spf:<5} {from:<30} {results}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::packed::tests::{gzip, zip};

    const XML: &[u8] =
        b"<feedback><report_metadata><org_name>a\x1b[2J</org_name></report_metadata>\
        <record><row><source_ip>192.0.2.1</source_ip><count>2</count></row></record></feedback>";

    #[test]
    fn days() {
        for (day, begin) in [
            ("2026-11-25", Some(1_795_564_800)),
            ("1970-01-01", Some(0)),
            ("1969-12-31", None),
            ("2026-02-30", None),
            ("2026-13-01", None),
            ("2026-0-1", None),
            ("yesterday", None),
        ] {
            assert_eq!(begin_of(day), begin, "{day}");
        }
    }

    #[test]
    fn files_of_each_kind() {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(gzip(XML));
        let mail = format!(
            "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n<p>hello<br>\n--b\n\
             Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{encoded}\n--b--\n"
        );
        for (octets, count) in [
            (XML, Some(1)),
            (&gzip(XML)[..], Some(1)),
            (&zip(&[XML, XML], 8), Some(2)),
            (mail.as_bytes(), Some(1)),
            (mail.replace('\n', "\r\n").as_bytes(), Some(1)),
            (&zip(&[XML, b"x"], 0), None),
            (b"Subject: x\n\nhello\n", None),
            (b"", None),
        ] {
            assert_eq!(reports(octets).ok().map(|it| it.len()), count, "{octets:.40x?}");
        }
        let shown = table(&reports(XML).unwrap()[0]);
        assert!(shown.contains("2 messages\n") && !shown.contains('\x1b'), "{shown}");
    }
}
