//! What holds for any stream.

use super::*;

/// Checks on any input: what is given lies in the input, everything is bounded.
#[expect(clippy::missing_panics_doc, reason = "a fuzz function panics when an invariant is broken")]
pub fn fuzz(data: &[u8]) {
    let within = data.as_ptr_range();
    let inside = |part: &[u8]| {
        let range = part.as_ptr_range();
        part.is_empty() || (within.start <= range.start && range.end <= within.end)
    };
    if let Ok(tnef) = Tnef::parse(data) {
        assert!(tnef.attachments.len() <= TNEF_ATTACHMENTS_MAX);
        for attachment in &tnef.attachments {
            assert!(attachment.contents.iter().all(|content| inside(content.data())));
            assert!(attachment.names().all(|name| !name.is_empty() && !name.contains('\0')));
        }
    }
    let seen = each_file(data, &mut |file| {
        assert!(file.depth <= TNEF_DEPTH_MAX);
        assert!(file.attachment.is_none() || inside(file.data));
        assert!(file.data.len() <= data.len().max(TNEF_TEXT_MAX));
        ControlFlow::Continue(())
    });
    assert_eq!(seen.is_err(), Tnef::parse(data).is_err());
    if let Ok(text) = rtf::decompress(data, 10_000) {
        assert!(text.len() <= 10_000);
    }
}
