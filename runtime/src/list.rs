//! Short lists in files: `#[serde(with = "cygnet_runtime::list")]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{Array, SmallVec};

/// Writes a list as a sequence.
///
/// # Errors
/// The serializer's.
pub fn serialize<A: Array, S: Serializer>(
    list: &SmallVec<A>,
    serializer: S,
) -> Result<S::Ok, S::Error>
where
    A::Item: Serialize,
{
    list.as_slice().serialize(serializer)
}

/// Reads a list from a sequence.
///
/// # Errors
/// The deserializer's.
pub fn deserialize<'de, A: Array, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SmallVec<A>, D::Error>
where
    A::Item: Deserialize<'de>,
{
    Vec::deserialize(deserializer).map(SmallVec::from_vec)
}
