use serde::{Deserialize, Serialize};

/// Who must accept a packet.
///
/// In TOML: `need = "all"`; it may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FanoutOptions {
    /// How many members must accept a packet, so that it is delivered. Default `all`.
    pub need: Need,
}

/// How many members must accept a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
    /// More than half of them.
    Quorum,
}

impl Need {
    pub(crate) fn of(self, members: usize) -> usize {
        match self {
            Self::All => members,
            Self::Any => 1,
            Self::Quorum => members / 2 + 1,
        }
    }
}
