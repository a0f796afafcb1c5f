//! The file `dmarc_discovery`: how the organisation of a domain is found.

use crate::authn::dmarc::Discovery;
use crate::config::files::{Problem, quote};
use crate::plugin::site::Setup;

/// Reads it: `tree`, also where there is no file (RFC 9989), or `psl` (the Public Suffix List, RFC 7489).
pub fn read(setup: &Setup<'_>) -> Discovery {
    let Some(line) = setup.scalar("dmarc_discovery") else { return Discovery::default() };
    match &*line.text {
        "tree" => Discovery::Tree,
        "psl" => Discovery::Psl,
        other => {
            let what = format!("{}: write tree or psl", quote(other));
            let problem = Problem::error(&line, what);
            // Several plugins read this file.
            setup.with_problems(|problems| {
                if !problems.contains(&problem) {
                    problem.note(problems);
                }
            });
            Discovery::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn settings() {
        for (text, expected, complaints) in [
            ("", Discovery::Tree, 0),
            ("# psl", Discovery::Tree, 0),
            ("tree", Discovery::Tree, 0),
            ("psl", Discovery::Psl, 0),
            ("list", Discovery::Tree, 1),
        ] {
            let files = [("dmarc_discovery".to_string(), text.to_string())];
            let (files, mut problems) = (Files::in_memory(files), Vec::new());
            assert_eq!(read(&Setup::new(&files, &mut problems)), expected, "{text}");
            assert_eq!(problems.len(), complaints, "{text}: {problems:?}");
        }
    }
}
