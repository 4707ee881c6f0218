//! Why somebody gets no place in the tree.

use alloc::string::String;

use crate::addr::PhysRange;

/// Why a range could not be entered into the tree or claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Someone else is there.
    #[error("{wanted} ({range}) is in conflict with {holder} ({held})")]
    Conflict {
        /// Who asked.
        wanted: String,
        /// For what.
        range: PhysRange,
        /// Who is there.
        holder: String,
        /// Where.
        held: PhysRange,
    },
    /// Nobody vouched for these addresses as registers, so they cannot be claimed.
    #[error("{wanted} ({range}) is not within registers that the kernel's boot code declared")]
    NotRegisters {
        /// Who asked.
        wanted: String,
        /// For what.
        range: PhysRange,
    },
    /// The range holds no byte.
    #[error("{wanted} asks for an empty range at {range}")]
    Empty {
        /// Who asked.
        wanted: String,
        /// For what.
        range: PhysRange,
    },
}
