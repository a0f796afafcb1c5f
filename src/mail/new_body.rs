//! A body that takes the place of the received one ([`NewBody`]).

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

/// Octets in CR LF lines, in memory or wherever their owner keeps them: a body may be larger than what
/// is worth holding in memory.
#[derive(Clone)]
pub struct NewBody(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl NewBody {
    /// What this owner holds. It must give the same octets each time.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> NewBody {
        NewBody(Arc::new(owner))
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl Debug for NewBody {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "NewBody({} octets)", self.octets().len())
    }
}

impl PartialEq for NewBody {
    fn eq(&self, other: &NewBody) -> bool {
        self.octets() == other.octets()
    }
}

impl Eq for NewBody {}
