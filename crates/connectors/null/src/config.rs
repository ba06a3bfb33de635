//! The configuration: there is nothing to choose.

use haul_core::{Endpoint, Error, ErrorKind, Place, Result};

/// The configuration of a [`Null`](crate::Null) sink. It has no keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NullConfig {}

impl NullConfig {
    /// Reads `null://`. Errors: `Config` for a host, a path or any option.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        endpoint.options(Place::Query, &[])?;
        if endpoint.host().is_some() || !matches!(endpoint.path(), "" | "/") {
            return Err(Error::new(
                ErrorKind::Config,
                format!("endpoint {endpoint}: null takes no host and no path; write null://"),
            ));
        }
        Ok(Self {})
    }
}
