//! What holds for any text.

use super::*;

/// Checks on any input: hosts have one form and are bounded, and pieces do not show in HTML.
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let levels = Levels::default();
    let mut hosts = Hosts::new(&levels, 5);
    let mut check = |uri: &Uri<'_>| {
        assert!(!uri.text.is_empty() && uri.text.len() <= 5_000);
        let host = uri.host.to_string();
        assert_eq!(Host::parse(host.as_bytes()), Some(uri.host), "{host}");
        assert!(!host.contains(|char: char| char.is_ascii_uppercase() || char.is_ascii_control()));
        assert!(!uri.full().is_empty());
        hosts.add(uri);
    };
    in_text(data, &mut check);
    in_html(data, &mut check);
    in_message(data, true, &|_| {}, &mut check);
    assert!(hosts.entries().len() <= 5);
    assert!(hosts.entries().iter().all(|entry| entry.count > 0));
    if data.len() < 2_000 {
        let whole = html_in_pieces(data, data.len().max(1));
        assert_eq!(html_in_pieces(data, 1), whole);
        assert_eq!(html_in_pieces(data, 7), whole);
    }
}

/// The URIs that are found where HTML comes in pieces of a size.
fn html_in_pieces(html: &[u8], size: usize) -> Vec<String> {
    let mut uris = Vec::new();
    let mut give = |uri: &Uri<'_>| uris.push(format!("{:?} {}", uri.host, uri.full()));
    let (mut scanner, mut found) = (HtmlScanner::new(), Found::new(&mut give));
    for piece in html.chunks(size) {
        scanner.feed(piece, &mut found);
    }
    scanner.finish(&mut found);
    uris
}
