//! What is to be mapped, how much of it, and which combinations of settings cannot be.

use std::fs;

use dmamap::addr::FRAME_BYTES;
use dmamap::map::AnyDirection;

use super::args::BenchArgs;
use crate::args::{IommuChoice, MachineArgs, Policy, size_text, typed};

/// Bytes of one mapping without `--size` and `--list`.
const DEFAULT_SIZE_BYTES: u64 = FRAME_BYTES;

/// What one mapping is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// One run of memory.
    Single {
        /// Its bytes.
        bytes: u64,
    },
    /// Pages none of which is next to another in memory.
    List {
        /// How many.
        pages: u32,
    },
}

impl Piece {
    /// Bytes the device is lent by one mapping.
    pub(super) fn len_bytes(self) -> u64 {
        match self {
            Self::Single { bytes } => bytes,
            Self::List { pages } => u64::from(pages) * FRAME_BYTES,
        }
    }

    /// Bytes of memory one takes: between the pages of a list lies one that keeps them apart. `None` beyond 2^64.
    fn memory_bytes(self) -> Option<u64> {
        match self {
            Self::Single { bytes } => bytes.checked_next_multiple_of(FRAME_BYTES),
            Self::List { pages } => Some(2 * u64::from(pages) * FRAME_BYTES),
        }
    }
}

/// What is mapped and unmapped, by whom, and besides what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) piece: Piece,
    pub(super) direction: AnyDirection,
    pub(super) policy: Policy,
    /// Mappings of fewer bytes are copied to memory that stays mapped.
    pub(super) copy_below_bytes: u64,
    pub(super) threads: u16,
    /// Mappings that each thread keeps alive, at least 1.
    pub(super) ring: u32,
    /// Mappings that are alive besides.
    pub(super) live: u64,
}

/// Settings that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// There is nothing to map.
    #[error("--size 0: a mapping has at least one byte")]
    Empty,
    /// A protection that rests on an IOMMU.
    #[error(
        "--policy {policy}: not with --iommu none, where nothing keeps the device from memory: leave --policy out, or \
         name an IOMMU (--iommu vtd)"
    )]
    NoIommu {
        /// As one types it.
        policy: String,
    },
    /// Copies in place of a wait that is not made.
    #[error(
        "--copy-below: not with --policy {policy}, under which unmapping waits for nothing that a copy would save: leave \
         one of them out"
    )]
    NothingToSave {
        /// As one types it.
        policy: String,
    },
    /// The mappings do not fit into the computer.
    #[error(
        "--ram {}: {mappings} mappings alive at once take {} of memory: give more, or make --size, --list, --ring, \
         --threads or --live smaller", size_text(*.ram), amount(*.bytes)
    )]
    TooLittleMemory {
        /// Bytes of the computer.
        ram: u64,
        /// Mappings alive at once.
        mappings: u128,
        /// Bytes they take; `None` beyond 2^64.
        bytes: Option<u64>,
    },
    /// They do not fit into the host's memory, which the computer's is part of.
    #[error(
        "{mappings} mappings alive at once take {} of memory, and this host has {} left: make --size, --list, --ring, \
         --threads or --live smaller", amount(Some(*.bytes)), amount(Some(*.available))
    )]
    HostTooSmall {
        /// Mappings alive at once.
        mappings: u128,
        /// Bytes they take.
        bytes: u64,
        /// Bytes the host can spare.
        available: u64,
    },
}

/// For errors: an amount of memory, as far as it can be told.
fn amount(bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("{} MiB", bytes.div_ceil(1 << 20)),
        None => "more than 2^64 bytes".into(),
    }
}

impl Load {
    /// Whether its mappings are copies in a pool of the device's own, which stays mapped.
    pub(super) fn is_pooled(&self) -> bool {
        self.policy == Policy::Bounce || self.piece.len_bytes() < self.copy_below_bytes
    }

    /// What `args` ask for.
    ///
    /// # Errors
    /// [`Refusal`], also where it does not fit into the computer or the host.
    pub(super) fn of(args: &BenchArgs) -> Result<Self, Refusal> {
        let untranslated = args.machine.iommu == IommuChoice::None;
        let policy = match (args.policy, untranslated) {
            (None, true) => Policy::Identity,
            (None, false) => Policy::Strict,
            (Some(policy), true) if policy != Policy::Identity => {
                let policy = typed(policy);
                return Err(Refusal::NoIommu { policy });
            }
            (Some(policy), _) => policy,
        };
        if args.copy_below > 0 && policy != Policy::Strict {
            let policy = typed(policy);
            return Err(Refusal::NothingToSave { policy });
        }
        let piece = match args.list {
            Some(pages) => Piece::List { pages },
            None => Piece::Single {
                bytes: args.size.unwrap_or(DEFAULT_SIZE_BYTES),
            },
        };
        if piece.len_bytes() == 0 {
            return Err(Refusal::Empty);
        }
        let load = Self {
            piece,
            direction: args.direction.any(),
            policy,
            copy_below_bytes: args.copy_below,
            threads: args.threads,
            ring: args.ring,
            live: args.live,
        };
        load.check_fits(&args.machine)?;
        Ok(load)
    }

    /// Refuses what does not fit into the computer, or into what the host can spare now.
    pub(super) fn check_fits(&self, args: &MachineArgs) -> Result<(), Refusal> {
        self.check(args.ram, host_memory())
    }

    /// Mappings that are alive at once, at most.
    pub(super) fn mappings(&self) -> u128 {
        u128::from(self.threads) * u128::from(self.ring) + u128::from(self.live)
    }

    /// Bytes of memory that these take; `None` beyond 2^64.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        let all = u128::from(self.piece.memory_bytes()?).checked_mul(self.mappings())?;
        u64::try_from(all).ok()
    }

    /// Refuses what does not fit into a computer with `ram` bytes on a host with `available` bytes to spare.
    fn check(&self, ram: u64, available: Option<u64>) -> Result<(), Refusal> {
        let mappings = self.mappings();
        let bytes = match self.memory_bytes() {
            Some(bytes) if bytes < ram => bytes,
            bytes => {
                return Err(Refusal::TooLittleMemory {
                    ram,
                    mappings,
                    bytes,
                });
            }
        };
        match available {
            Some(available) if bytes > available => Err(Refusal::HostTooSmall {
                mappings,
                bytes,
                available,
            }),
            _ => Ok(()),
        }
    }
}

/// Bytes of memory that the host can spare, where it tells.
fn host_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        piece: Piece::Single { bytes: 5000 },
        direction: AnyDirection::ToDevice,
        policy: Policy::Strict,
        copy_below_bytes: 0,
        threads: 3,
        ring: 4,
        live: 5,
    };

    #[test]
    fn memory_is_that_of_all_mappings_in_whole_frames() {
        assert_eq!(LOAD.mappings(), 17);
        assert_eq!(LOAD.memory_bytes(), Some(17 * 8192));
        let list = Load {
            piece: Piece::List { pages: 3 },
            ..LOAD
        };
        assert_eq!(list.memory_bytes(), Some(17 * 6 * 4096));
        assert_eq!(list.piece.len_bytes(), 3 * 4096);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_says_how_much_it_is() {
        let need = 17 * 8192;
        assert_eq!(LOAD.check(need + 1, Some(need)), Ok(()));
        assert_eq!(LOAD.check(need + 1, None), Ok(()));
        assert!(matches!(
            LOAD.check(need, None),
            Err(Refusal::TooLittleMemory { bytes: Some(bytes), mappings: 17, .. }) if bytes == need
        ));
        assert!(matches!(
            LOAD.check(u64::MAX, Some(need - 1)),
            Err(Refusal::HostTooSmall { .. })
        ));
        for endless in [
            Load {
                live: u64::MAX,
                ..LOAD
            },
            Load {
                piece: Piece::Single { bytes: u64::MAX },
                ..LOAD
            },
        ] {
            let refused = endless.check(u64::MAX, None).expect_err("it fits nowhere");
            assert!(refused.to_string().contains("2^64"), "{refused}");
        }
    }
}
