//! How a virtio device fails its driver on purpose.

use hw::virtio::queue::UsedEntry;

/// A deliberate fault of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misbehaviour {
    /// None.
    #[default]
    None,
    /// It takes requests and answers none.
    Silent,
    /// So, and it says that it need not be told of them.
    SilentAndDeaf,
    /// It answers with a descriptor that the driver never gave it.
    UnknownId,
    /// It answers with a number that is no descriptor's.
    HugeId,
    /// It answers each request twice.
    Twice,
    /// Its used index runs ahead of its answers.
    IndexJumps,
    /// It says that it wrote more than there is room for.
    TooLong,
    /// It says that it wrote nothing.
    Empty,
    /// It says after the first request that it needs a reset.
    NeedsReset,
    /// It does not accept any features.
    RefusesFeatures,
    /// It never finishes a reset, once it was at work.
    NeverResets,
    /// Its configuration changes whenever it is looked at.
    Unsteady,
    /// It does not offer `VIRTIO_F_ACCESS_PLATFORM`.
    WithoutPlatform,
}

impl Misbehaviour {
    /// What is told to the driver in place of `truth`, and how many more entries are said to be there.
    pub(super) fn answer(self, truth: UsedEntry, writable: u64) -> Option<(UsedEntry, u16)> {
        let (entry, jump) = match self {
            Self::Silent | Self::SilentAndDeaf => return None,
            Self::UnknownId => {
                let id = truth.id ^ 1;
                (UsedEntry { id, ..truth }, 0)
            }
            Self::HugeId => {
                let id = truth.id | 0x8000_0000;
                (UsedEntry { id, ..truth }, 0)
            }
            Self::Twice => (truth, 1),
            Self::IndexJumps => (truth, 1000),
            Self::TooLong => {
                let len = u32::try_from(writable)
                    .unwrap_or(u32::MAX)
                    .saturating_add(1);
                (UsedEntry { len, ..truth }, 0)
            }
            Self::Empty => (UsedEntry { len: 0, ..truth }, 0),
            _ => (truth, 0),
        };
        Some((entry, jump))
    }
}
