//! Collects the header comment of each plugin file, from which `mailreeve plugins NAME` and the
//! manual page are made. Only the headers go into the binary, not the source.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src/plugins");
    let root = Path::new("src/plugins");
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut out = String::from("pub(super) static HEADERS: &[(&str, &str)] = &[\n");
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file).with_extension("");
        let header: String = text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
            .collect();
        let _ = writeln!(out, "    ({:?}, {header:?}),", name.display().to_string());
    }
    out.push_str("];\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("headers.rs");
    fs::write(target, out)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("mod.rs") {
            files.push(path);
        }
    }
    Ok(())
}
