//! How a file was read, so that it can be read again in the same way.

use super::own;

/// A way in which something of a config folder was read, to be read again in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// [`Files::lines`] or what is made of it.
    Lines(String),
    /// [`Files::bytes`]
    Bytes(String),
    /// [`Files::bytes`], by who can do without.
    Text(String),
    /// [`Files::system`]
    System(String),
    /// [`Files::database`]
    Database(String),
    /// [`Files::folders`]
    Folders(String),
    /// [`Files::names`]
    Names(String),
    /// [`Files::own_folders`]
    OwnFolders,
    /// [`Files::own_lines`]
    OwnLines(String),
}

impl Reading {
    /// What its digest is kept under. No file's name ends in a slash or an asterisk behind one.
    pub(crate) fn key(&self) -> String {
        match self {
            Reading::Lines(name)
            | Reading::Bytes(name)
            | Reading::Text(name)
            | Reading::System(name)
            | Reading::Database(name) => name.clone(),
            Reading::Folders(sub) => format!("{sub}/"),
            Reading::Names(sub) => format!("{sub}/*"),
            Reading::OwnFolders => own::MARK.to_string(),
            Reading::OwnLines(file) => format!("{}{file}", own::MARK),
        }
    }
}
