//! Test material that others wrote, which lies beside a checkout and not in it.

use crate::daemon::system::skip;
use std::path::{Path, PathBuf};

/// A text of the corpus. Without the corpus the test is skipped, and says so; in CI that is a failure.
pub(crate) fn read(name: &str) -> Option<String> {
    Some(String::from_utf8(octets(name)?).unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// The same for a file that need not be text.
pub(crate) fn octets(name: &str) -> Option<Vec<u8>> {
    Some(content(&place(name)?))
}

/// Every file below a folder of the corpus, in the order of their paths: path below it, octets.
pub(crate) fn files(folder: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let top = place(folder)?;
    let (mut found, mut folders) = (Vec::new(), vec![top.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}")) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&top).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((name, content(&path)));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{top:?} is empty");
    Some(found)
}

fn content(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|e| panic!("{file:?}: {e}"))
}

fn place(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    if folder.is_dir() {
        return Some(folder.join(name));
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{folder:?} is missing");
    skip("corpus not here", name);
    None
}
