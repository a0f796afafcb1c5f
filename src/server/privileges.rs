//! Becoming another user after the ports are bound.

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgid, setgroups, setuid};
use std::ffi::CString;
use std::fmt::Display;

/// Whom to become.
#[derive(Clone, Debug)]
pub struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Identity {
    /// Looks up `user[:group]`; both may be numbers.
    ///
    /// # Errors
    /// A sentence that says what is not there.
    pub fn find(text: &str) -> Result<Identity, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let entry = match user.parse::<u32>() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let entry = entry
            .map_err(|error| fault("looking up the user", user, error))?
            .ok_or_else(|| format!("there is no user {user}"))?;
        let gid = match group {
            None => entry.gid,
            Some(group) => group_id(group)?,
        };
        let name = CString::new(entry.name.as_str()).map_err(|_| "a name with NUL".to_string())?;
        let groups = getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
        Ok(Identity { name: entry.name, uid: entry.uid, gid, groups })
    }

    /// Naming root is allowed, and worth a warning.
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// For the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of user and group.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Becomes the user, for the whole process. To be called before any thread starts.
    ///
    /// # Errors
    /// A sentence that says which step failed.
    pub fn assume(&self) -> Result<(), String> {
        if Uid::effective() == self.uid && !Uid::effective().is_root() {
            return Ok(());
        }
        setgroups(&self.groups)
            .map_err(|error| fault("setting the groups of", &self.name, error))?;
        setgid(self.gid).map_err(|error| fault("setting the group of", &self.name, error))?;
        setuid(self.uid).map_err(|error| fault("becoming", &self.name, error))
    }
}

fn group_id(group: &str) -> Result<Gid, String> {
    if let Ok(gid) = group.parse::<u32>() {
        return Ok(Gid::from_raw(gid));
    }
    let entry =
        Group::from_name(group).map_err(|error| fault("looking up the group", group, error))?;
    entry.map(|entry| entry.gid).ok_or_else(|| format!("there is no group {group}"))
}

fn fault(step: &str, name: &str, error: impl Display) -> String {
    format!("{step} {name}: {error}")
}

/// The process runs as root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up() {
        assert!(Identity::find("root").is_ok_and(|identity| identity.is_root()));
        assert!(Identity::find("0:0").is_ok_and(|identity| identity.is_root()));
        assert!(Identity::find("nobody-of-this-name").is_err());
        assert!(Identity::find("root:nogroup-of-this-name").is_err());
    }
}
