//! Who writes page tables, and the loads for it.
//!
//! - [`PageTables`] is what all have in common
//! - [`Ours`] is `dmamap`'s, as is [`Held`], whose entries are held; [`Aarch64Paging`] and [`Iotlb`] are published crates;
//!   [`LinuxTable`](crate::linux::LinuxTable) is Linux's
//! - [`contiguous`] and [`list`] are the loads
//!
//! ```
//! use peers::table::{Extent, Ours, PageTables};
//!
//! let mut ours = Ours::new()?;
//! let extent = Extent { page_bytes: 4096, len_bytes: 0x1_0000 };
//! assert!(ours.map(0x20_0000, 0x1_2345_0000, extent));
//! assert_eq!(ours.translate(0x20_1234), Some(0x1_2345_1234));
//! assert!(ours.unmap(0x20_0000, extent));
//! assert_eq!(ours.translate(0x20_1234), None);
//! # Ok::<(), peers::PeersError>(())
//! ```

mod aarch64_paging;
mod held;
mod iotlb;
mod loads;
mod ours;

pub use aarch64_paging::Aarch64Paging;
pub use held::Held;
pub use iotlb::Iotlb;
pub use loads::{contiguous, list};
pub use ours::Ours;

use crate::PeersError;
use crate::linux::Linux;

/// Bytes side by side, and what pages they are to be mapped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// 4 KiB or 2 MiB. Who chooses pages by itself comes to the same from how things are aligned.
    pub page_bytes: u64,
    /// A multiple of that.
    pub len_bytes: u64,
}

/// One domain's translation.
pub trait PageTables {
    /// The name in the figures.
    fn peer(&self) -> &'static str;

    /// Makes `phys` reachable at `bus`, to read and write; whether it is.
    fn map(&mut self, bus: u64, phys: u64, extent: Extent) -> bool;

    /// Makes pages of 4 KiB that lie apart reachable side by side; whether they are.
    fn map_list(&mut self, bus: u64, pages: &[u64]) -> bool;

    /// Undoes either, up to the invalidation, which is the unit's; whether it was mapped, where that is known.
    fn unmap(&mut self, bus: u64, extent: Extent) -> bool;

    /// Where `bus` leads.
    fn translate(&self, bus: u64) -> Option<u64>;
}

/// As [`all`], ours with the entries held for where the loads map, of pages of that size: 4 KiB or 2 MiB.
///
/// # Errors
/// As [`all`].
pub fn all_held(
    linux: Option<Linux>,
    page_bytes: u64,
) -> Result<Vec<Box<dyn PageTables>>, PeersError> {
    let mut all = all(linux)?;
    all[0] = match page_bytes {
        4096 => Box::new(Held::<1>::new(loads::BUS, loads::MOST)?),
        _ => Box::new(Held::<2>::new(loads::BUS, loads::MOST_LARGE)?),
    };
    Ok(all)
}

/// All there are: ours first.
///
/// # Errors
/// [`PeersError::Failed`] without memory.
pub fn all(linux: Option<Linux>) -> Result<Vec<Box<dyn PageTables>>, PeersError> {
    let mut all: Vec<Box<dyn PageTables>> = vec![Box::new(Ours::new()?)];
    if let Some(linux) = linux {
        all.push(Box::new(linux.page_table()?));
    }
    all.push(Box::new(Aarch64Paging::new()));
    all.push(Box::new(Iotlb::new()));
    Ok(all)
}
