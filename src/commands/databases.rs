//! Where SME Server's databases are, and what commands that are not about them read there.

use crate::commands::{Fault, complain};
use crate::esmith::database::Database;
use crate::esmith::file;
use crate::esmith::record::Record;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The database of the server's own settings.
pub(super) const CONFIGURATION: &str = "configuration";

/// The database of the domains that it hosts.
const DOMAINS: &str = "domains";

/// The type of its records.
const DOMAIN: &[u8] = b"domain";

/// Environment variables that may name the folder, in this order.
const VARIABLES: [&str; 2] = ["ESMITH_DB", "DBPATH"];

/// The folder of the databases, and where they were before SME Server 6.
const USUAL: &str = "/home/e-smith/db";
const FORMER: &str = "/home/e-smith";

/// Where a database is. The place of old is looked at only on a system that has the usual one.
pub(super) fn place(named: Option<PathBuf>, database: &OsStr) -> PathBuf {
    let from_variable = || VARIABLES.iter().find_map(|name| env::var_os(name).map(PathBuf::from));
    if let Some(folder) = named.or_else(from_variable) {
        return folder.join(database);
    }
    let (usual, former) = (Path::new(USUAL).join(database), Path::new(FORMER).join(database));
    if !usual.exists() && usual != former && former.is_file() {
        complain(&format!("mailreeve db: warning: using {}\n", former.display()));
        return former;
    }
    usual
}

/// `DomainName` of the configuration database; None where there is neither, or where it cannot be read,
/// which is told: not everybody may read it, and who calls has another way to find the domain.
pub(super) fn domain_of_server() -> Option<String> {
    let path = place(None, OsStr::new(CONFIGURATION));
    match file::read(&path) {
        Ok(database) => {
            let name = database.get(b"DomainName").and_then(Record::kind);
            name.map(|name| String::from_utf8_lossy(name).into_owned())
        }
        Err(error) => {
            complain(&format!("mailreeve: warning: {}: {error}\n", path.display()));
            None
        }
    }
}

/// The names of all hosted domains: the records of type `domain`.
///
/// # Errors
/// The database cannot be read, or has none.
pub(super) fn hosted_domains() -> Result<Vec<String>, Fault> {
    let path = place(None, OsStr::new(DOMAINS));
    let failed = |what: String| Fault::No(format!("{}: {what}", path.display()));
    let found = domains_of(&file::read(&path).map_err(|error| failed(error.to_string()))?);
    if found.is_empty() {
        return Err(failed("there is no record of type domain".to_string()));
    }
    Ok(found)
}

fn domains_of(database: &Database) -> Vec<String> {
    let domains = database.records().filter(|(_, record)| record.kind() == Some(DOMAIN));
    domains.map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_records_of_that_type() {
        let text =
            b"b.example=domain|DKIMSigning|disabled\na.example=domain\nc=service|x|domain\nd\n\
            e=\nf=domains\n";
        assert_eq!(domains_of(&Database::parse(text)), ["a.example", "b.example"]);
    }
}
