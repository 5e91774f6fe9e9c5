//! The six linear layers of a block that can carry LoRA.

use serde::{Deserialize, Serialize};

/// A linear layer of a block, by its timm name (query, key and value are split).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Query projection.
    Query,
    /// Key projection.
    Key,
    /// Value projection.
    Value,
    /// Output projection of attention.
    Proj,
    /// First layer of the feed-forward part.
    Fc1,
    /// Second layer of the feed-forward part.
    Fc2,
}

impl Target {
    /// All six, in the order of the forward pass.
    pub const ALL: [Self; 6] = [Self::Query, Self::Key, Self::Value, Self::Proj, Self::Fc1, Self::Fc2];

    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::Proj => "proj",
            Self::Fc1 => "fc1",
            Self::Fc2 => "fc2",
        }
    }

    /// The target with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }
}
