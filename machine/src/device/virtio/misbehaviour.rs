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

/// What a driver is told of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) entry: UsedEntry,
    /// How often it stands in the ring, one after the other.
    pub(super) times: u16,
    /// How many more entries are said to be there.
    pub(super) jump: u16,
}

impl Misbehaviour {
    /// What is told to the driver in place of `truth`.
    pub(super) fn answer(self, truth: UsedEntry, writable: u64) -> Option<Answer> {
        let once = |entry| Answer {
            entry,
            times: 1,
            jump: 0,
        };
        Some(match self {
            Self::Silent | Self::SilentAndDeaf => return None,
            Self::UnknownId => {
                let id = truth.id ^ 1;
                once(UsedEntry { id, ..truth })
            }
            Self::HugeId => {
                let id = truth.id | 0x8000_0000;
                once(UsedEntry { id, ..truth })
            }
            Self::Twice => Answer {
                times: 2,
                ..once(truth)
            },
            Self::IndexJumps => Answer {
                jump: 1000,
                ..once(truth)
            },
            Self::TooLong => {
                let len = u32::try_from(writable)
                    .unwrap_or(u32::MAX)
                    .saturating_add(1);
                once(UsedEntry { len, ..truth })
            }
            Self::Empty => once(UsedEntry { len: 0, ..truth }),
            _ => once(truth),
        })
    }
}
