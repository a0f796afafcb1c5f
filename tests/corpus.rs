//! Test material that others wrote, which lies beside a checkout and not in it.

use crate::daemon::system::skip;
use std::path::PathBuf;

/// A text of the corpus. Without the corpus the test is skipped, and says so; in CI that is a failure.
pub(crate) fn read(name: &str) -> Option<String> {
    Some(String::from_utf8(octets(name)?).unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// The same for a file that need not be text.
pub(crate) fn octets(name: &str) -> Option<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    if folder.is_dir() {
        let file = folder.join(name);
        return Some(std::fs::read(&file).unwrap_or_else(|e| panic!("{file:?}: {e}")));
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{folder:?} is missing");
    skip("corpus not here", name);
    None
}
