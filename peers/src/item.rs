//! The list of loads.
//!
//! ```
//! use peers::item::{Length, items};
//!
//! let only = |text: &'static str| move |name: &str| name.contains(text);
//! assert_eq!(items(Length::Short, only("two threads")).len(), 6);
//! assert!(items(Length::Short, only("10^7")).is_empty());
//! assert_eq!(items(Length::Long, only("10^7")).len(), 4);
//! ```

use crate::bounce::{self, copies};
use crate::iova::{self, owned_pair, pair, two_threads, worst};
use crate::linux::Linux;
use crate::mapping::{self, Path};
use crate::measure::{Effort, Took};
use crate::table::{self, Extent, contiguous, list};
use crate::{PeersError, pinning};

/// Whether loads that take minutes and gigabytes are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Up to 10^6 ranges live.
    Short,
    /// Also 10^7.
    Long,
}

/// How ours come to the entries that they write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entries {
    /// By a walk, as others do.
    Walked,
    /// They hold them.
    Held,
}

impl Entries {
    /// For mappings of pages of that size.
    fn all(
        self,
        linux: Option<Linux>,
        page_bytes: u64,
    ) -> Result<Vec<Box<dyn table::PageTables>>, PeersError> {
        match self {
            Self::Walked => table::all(linux),
            Self::Held => table::all_held(linux, page_bytes),
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Pair {
        len_bytes: u64,
        live: u64,
    },
    /// The same through a handle that one owner has.
    OwnedPair {
        len_bytes: u64,
        live: u64,
    },
    TwoThreads {
        len_bytes: u64,
    },
    /// Whole maps and unmaps, of one device and of a device each.
    TwoMappers(Path),
    Worst {
        holes: u64,
    },
    Contiguous(Extent, Entries),
    List(u64, Entries),
    Copies(bounce::Extent),
}

/// A load, and what each of its phases is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    names: Vec<String>,
    load: Load,
}

/// The loads of which a phase's name is `wanted`, in the order they are run.
pub fn items(length: Length, wanted: impl Fn(&str) -> bool) -> Vec<Item> {
    let mut items = all(length);
    items.retain(|item| item.names.iter().any(|name| wanted(name)));
    items
}

fn all(length: Length) -> Vec<Item> {
    let mut items = Vec::new();
    let mut add = |names: Vec<String>, load| items.push(Item { names, load });
    let most = match length {
        Length::Short => 6,
        Length::Long => 7,
    };
    for (shown, len_log2) in [("4K", 12), ("64K", 16), ("256K", 18), ("2M", 21)] {
        for power in [3, 5, 6, 7].into_iter().filter(|power| *power <= most) {
            let load = Load::Pair {
                len_bytes: 1 << len_log2,
                live: 10u64.pow(power),
            };
            add(vec![format!("iova pair {shown}, 10^{power} live")], load);
        }
    }
    for (shown, len_log2) in [("4K", 12), ("64K", 16)] {
        let load = Load::OwnedPair {
            len_bytes: 1 << len_log2,
            live: 1000,
        };
        let name = format!("iova pair {shown}, owned handle, 10^3 live");
        add(vec![name], load);
    }
    for power in [3, 5, 6] {
        let name = format!("iova worst single allocation, 10^{power} holes");
        let holes = 10u64.pow(power);
        add(vec![name], Load::Worst { holes });
    }
    let two = Load::TwoThreads { len_bytes: 4096 };
    add(vec!["iova pair 4K, two threads".into()], two);
    for path in MAPPED {
        let name = format!("{}, two threads", path.name());
        add(vec![name], Load::TwoMappers(path));
    }
    let phases = |shown: &str| ["map", "unmap"].map(|verb| format!("page table {verb} {shown}"));
    for (shown, page_log2, len_log2) in [
        ("4K", 12, 12),
        ("64K", 12, 16),
        ("1M of 4K", 12, 20),
        ("2M", 21, 21),
    ] {
        let extent = Extent {
            page_bytes: 1 << page_log2,
            len_bytes: 1 << len_log2,
        };
        add(
            phases(shown).into(),
            Load::Contiguous(extent, Entries::Walked),
        );
        let held = phases(&format!("{shown}, held")).into();
        add(held, Load::Contiguous(extent, Entries::Held));
    }
    let separate = "256 separate pages";
    add(phases(separate).into(), Load::List(256, Entries::Walked));
    let held = phases(&format!("{separate}, held")).into();
    add(held, Load::List(256, Entries::Held));
    for (shown, len_log2, count_log2) in COPIES {
        let extent = bounce::Extent {
            len_bytes: 1 << len_log2,
            count: 1 << count_log2,
        };
        let names = ["map", "unmap"].map(|verb| format!("bounce {verb} {shown}"));
        add(names.into(), Load::Copies(extent));
    }
    items
}

/// What two threads do beside two that share nothing. Strict unmaps are not among them: two would wait for one model of a unit, or for two.
const MAPPED: [Path; 5] = [
    Path::Deferred,
    Path::DeferredRaw,
    Path::Lane,
    Path::LaneRaw,
    Path::Copies,
];

/// Buffers that are copied: what is shown, and log2 of their bytes and of how many there are. What is cold was last touched 512 MiB
/// ago, copies included; a CPU's own caches hold what is hot.
const COPIES: [(&str, u32, u32); 4] = [
    ("64K, cold", 16, 12),
    ("64K, hot", 16, 2),
    ("4K, cold", 12, 16),
    ("4K, hot", 12, 2),
];

impl Item {
    /// What its phases are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Runs it on all there are.
    ///
    /// # Errors
    /// [`PeersError`] when one of them does not what it should.
    pub fn run(
        &self,
        linux: Option<Linux>,
        cpus: &[usize],
        effort: Effort,
    ) -> Result<Vec<Took>, PeersError> {
        match self.load {
            Load::Pair { len_bytes, live } => pair(iova::all(linux)?, len_bytes, live, effort),
            Load::OwnedPair { len_bytes, live } => {
                owned_pair(iova::all(linux)?, len_bytes, live, effort)
            }
            Load::Worst { holes } => worst(iova::all(linux)?, holes, effort),
            Load::TwoThreads { len_bytes } => {
                two_threads(iova::all(linux)?, len_bytes, cpus, effort)
            }
            Load::TwoMappers(path) => mapping::two_threads(path, cpus, effort),
            Load::Contiguous(extent, entries) => {
                contiguous(entries.all(linux, extent.page_bytes)?, extent, effort)
            }
            Load::List(pages, entries) => list(entries.all(linux, 4096)?, pages, effort),
            Load::Copies(extent) => copies(extent, effort),
        }
    }

    /// Whether it can run on so many CPUs.
    pub fn fits(&self, cpus: &[usize]) -> bool {
        !matches!(self.load, Load::TwoThreads { .. } | Load::TwoMappers(_)) || cpus.len() > 1
    }
}

/// The CPUs to run on, the first of which this thread is from now on kept on.
///
/// # Errors
/// [`PeersError::Pinning`].
pub fn settle() -> Result<Vec<usize>, PeersError> {
    let cpus = pinning::allowed()?;
    if let Some(first) = cpus.first() {
        pinning::pin(*first)?;
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_a_name_of_its_own() {
        let items = items(Length::Long, |_| true);
        let mut names: Vec<_> = items.iter().flat_map(|item| item.names.clone()).collect();
        assert_eq!(names.len(), 4 * 4 + 2 + 3 + 1 + 5 + 10 * 2 + 4 * 2);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 55);
    }

    #[test]
    fn a_load_is_chosen_by_either_phase() {
        let chosen = items(Length::Short, |name| name.ends_with("unmap 2M"));
        assert_eq!(chosen.len(), 1);
        assert_eq!(
            chosen[0].names(),
            ["page table map 2M", "page table unmap 2M"]
        );
    }

    #[test]
    fn two_threads_take_two_cpus() {
        let chosen = items(Length::Short, |name| name.ends_with("two threads"));
        assert!(chosen[0].fits(&[3, 5]) && !chosen[0].fits(&[3]));
    }
}
