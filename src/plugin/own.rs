//! Settings that a recipient has of his own, where the plugin `per_user_config` is listed.
//!
//! A plugin that has such a setting reads it for all recipients when it is loaded ([`Own::load`]), so
//! that what is wrong in somebody's file is told like any other fault of the configuration. At RCPT it
//! asks the chain which folders hold the settings of the recipient ([`Cx::config_for`]) and takes the
//! one that is most his own ([`ConfigFor::find`]):
//!
//! ```text
//! let lists = cx.config_for(recipient)?;
//! let list = lists.find(&self.own).unwrap_or(&self.common);
//! ```

use crate::config::files::{Line, Problem, own};
use crate::plugin::question::Pending;
use crate::plugin::site::Setup;
use crate::plugin::{Cx, Loaded};
use crate::smtp::address::Address;
use std::collections::HashMap;
use std::sync::Arc;

/// The folders that hold settings of one recipient, that which is most his own first. Recipients for
/// whom these are equal have the same settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFor(Vec<Arc<str>>);

/// One setting as folders of recipients have it, each compiled.
#[derive(Clone, Debug)]
pub struct Own<T>(HashMap<String, T>);

impl ConfigFor {
    /// Settings in these folders ([`own::key`]), that which counts before others first.
    pub fn new(folders: Vec<Arc<str>>) -> ConfigFor {
        ConfigFor(folders)
    }

    /// The setting, if the recipient has it of his own.
    pub fn find<'o, T>(&self, own: &'o Own<T>) -> Option<&'o T> {
        self.0.iter().find_map(|folder| own.0.get(&**folder))
    }
}

impl<T> Own<T> {
    /// Nobody has it of his own.
    pub fn none() -> Own<T> {
        Own(HashMap::new())
    }

    /// Reads a setting in all folders of recipients. Where two differ in their spelling only, the first
    /// that has it counts; per_user_config tells of them.
    pub fn load(setup: &Setup<'_>, file: &str, mut compile: impl FnMut(&[Line]) -> T) -> Own<T> {
        let mut own = HashMap::new();
        for (folder, lines) in setup.own_lines(file) {
            if let Some(key) = key_of(&folder) {
                own.entry(key).or_insert_with(|| compile(&lines));
            }
        }
        Own(own)
    }

    /// The same for what reports its problems itself.
    pub fn load_with(
        setup: &Setup<'_>,
        file: &str,
        compile: impl Fn(&[Line], &mut Vec<Problem>) -> T,
    ) -> Own<T> {
        Own::load(setup, file, |lines| setup.with_problems(|problems| compile(lines, problems)))
    }
}

/// The key of a folder as it is written on the disk.
pub fn key_of(folder: &str) -> Option<String> {
    own::key(&folder.split('/').collect::<Vec<_>>())
}

impl Cx<'_> {
    /// Which settings a recipient has of his own: none unless `per_user_config` is in the list of
    /// plugins. The chain is asked, wherever in it that stands.
    ///
    /// # Errors
    /// [`Pending`] while the answer is missing; what lies in the config folder is always there.
    pub fn config_for(&self, recipient: &Address) -> Result<ConfigFor, Pending> {
        let asked = |loaded: &Loaded| loaded.plugin.config_for(recipient);
        Ok(self.chain().iter().find_map(asked).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Files;

    #[test]
    fn the_most_special_folder_that_has_the_setting_counts() {
        let files = [
            ("Example.com/list", "domain"),
            ("example.com/Joe/list", "joe"),
            ("example.com/ann/other", "ann"),
        ];
        let files = files.map(|(name, text)| (name.to_string(), text.to_string()));
        let files = Files::in_memory(files);
        let mut problems = Vec::new();
        let setup = Setup::new(&files, &mut problems);
        let text = |lines: &[Line]| lines[0].text.clone();
        let list = Own::load(&setup, "list", text);
        let of = |folders: &[&str]| ConfigFor::new(folders.iter().map(|it| (*it).into()).collect());
        for (folders, expected) in [
            (&["example.com/joe", "example.com"][..], Some("joe")),
            (&["example.com/ann", "example.com"], Some("domain")),
            (&["example.com"], Some("domain")),
            (&["example.org/joe", "example.org"], None),
            (&[], None),
        ] {
            assert_eq!(of(folders).find(&list).map(String::as_str), expected, "{folders:?}");
            assert_eq!(of(folders).find(&Own::<u8>::none()), None);
        }
        assert_eq!(setup.read().len(), 1, "a change of any folder loads the plugin again");
    }
}
