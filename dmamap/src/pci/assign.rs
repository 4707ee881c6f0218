//! Which bus addresses BARs and bridges' windows get: arithmetic alone, no register is touched here.
//!
//! From the leaves up, each bridge's window of each kind is sized to what lies behind it, larger
//! alignments first, which leaves no gap among powers of two. Then the root bus's items are placed in
//! the host bridge's windows, and everything else follows. While something does not fit, the largest BAR of the item
//! concerned is left out and all is laid out anew.
//!
//! A 64-bit prefetchable BAR goes to prefetchable space where every bridge above it can forward that, and to
//! 32-bit space otherwise; so does a whole prefetchable window for which the host bridge has no
//! prefetchable space left.

use alloc::vec::Vec;
use core::cmp::Reverse;

use hw::pci::bridge::{IO_GRANULE_BYTES, MEMORY_GRANULE_BYTES};

use super::BarKind;
use crate::bridge::{Window, WindowKind};

/// The kinds of window, in the order they are placed: what can only go to 32-bit space comes before
/// what falls back to it.
pub(crate) const KINDS: [WindowKind; 3] = [
    WindowKind::Io,
    WindowKind::Memory,
    WindowKind::PrefetchableMemory,
];

/// One value for each of [`KINDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerKind<T>([T; 3]);

impl<T> PerKind<T> {
    pub(crate) fn get(&self, kind: WindowKind) -> &T {
        &self.0[index(kind)]
    }

    pub(crate) fn get_mut(&mut self, kind: WindowKind) -> &mut T {
        &mut self.0[index(kind)]
    }
}

const fn index(kind: WindowKind) -> usize {
    match kind {
        WindowKind::Io => 0,
        WindowKind::Memory => 1,
        WindowKind::PrefetchableMemory => 2,
    }
}

/// What a bridge can forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BridgeAbility {
    /// The bridge above; `None` on the root bus. Bridges come after those above them.
    pub(crate) above: Option<usize>,
    /// The last IO address it can forward; `None` without an IO window.
    pub(crate) io_last: Option<u64>,
    /// Whether it has a prefetchable window with 64-bit addresses.
    pub(crate) prefetchable: Prefetchable,
}

/// A bridge's prefetchable window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefetchable {
    /// None, or one below 4 GiB alone: not used.
    Unusable,
    /// With 64-bit addresses.
    Bits64,
}

/// A BAR that wants an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// The bridge whose secondary bus it is on; `None` on the root bus.
    pub(crate) above: Option<usize>,
    pub(crate) kind: BarKind,
    /// A power of two.
    pub(crate) len_bytes: u64,
}

/// What everything got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The kind of window each BAR is reached through, and its bus address; or none.
    pub(crate) bars: Vec<Option<(WindowKind, u64)>>,
    /// First bus address and length of each bridge's windows; `None` where nothing lies behind.
    pub(crate) windows: Vec<PerKind<Option<(u64, u64)>>>,
}

/// Lays out `wants` behind `bridges` in the host bridge's `windows`.
pub(crate) fn plan(windows: &[Window], bridges: &[BridgeAbility], wants: &[Want]) -> Plan {
    let mut kinds: Vec<_> = wants
        .iter()
        .map(|want| window_kind(bridges, want))
        .collect();
    loop {
        let layout = Layout::new(bridges, wants, &kinds);
        match layout.place(windows) {
            Ok(plan) => return plan,
            // Ends: each round leaves out one more BAR, and without BARs nothing needs placing.
            Err(left_out) => kinds[left_out] = None,
        }
    }
}

/// The kind of window a BAR goes to; `None` if a bridge above cannot forward it.
fn window_kind(bridges: &[BridgeAbility], want: &Want) -> Option<WindowKind> {
    let mut above = core::iter::successors(want.above, |&bridge| bridges[bridge].above);
    match want.kind {
        BarKind::Io => above
            .all(|bridge| bridges[bridge].io_last.is_some())
            .then_some(WindowKind::Io),
        BarKind::PrefetchableMemory64
            if above.all(|bridge| bridges[bridge].prefetchable == Prefetchable::Bits64) =>
        {
            Some(WindowKind::PrefetchableMemory)
        }
        _ => Some(WindowKind::Memory),
    }
}

/// Something that needs a run of addresses on a bus.
#[derive(Clone, Copy, Debug)]
struct Item {
    what: What,
    len_bytes: u64,
    align: u64,
    /// The last address it may have.
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Bar(usize),
    Window(usize),
}

/// Items of one kind on one bus, largest alignment first, with their offsets from the first.
#[derive(Clone, Debug, Default)]
struct Row(Vec<(u64, Item)>);

impl Row {
    fn new(mut items: Vec<Item>) -> Self {
        items.sort_by_key(|item| Reverse((item.align, item.len_bytes)));
        let mut end = 0;
        let place = |item: Item| {
            let offset = align_up(end, item.align);
            end = offset.saturating_add(item.len_bytes);
            (offset, item)
        };
        Self(items.into_iter().map(place).collect())
    }

    /// The window that holds the row; `None` if the row is empty.
    fn window(&self, bridge: usize, granule: u64, last: u64) -> Option<Item> {
        let &(offset, ref item) = self.0.last()?;
        let items = self.0.iter().map(|(_, item)| item);
        Some(Item {
            what: What::Window(bridge),
            len_bytes: align_up(offset.saturating_add(item.len_bytes), granule),
            align: items.clone().map(|item| item.align).fold(granule, u64::max),
            last: items.map(|item| item.last).fold(last, u64::min),
        })
    }
}

/// All rows: of the root bus, and of the bus behind each bridge.
struct Layout<'a> {
    wants: &'a [Want],
    bridge_count: usize,
    root: PerKind<Row>,
    behind: Vec<PerKind<Row>>,
}

impl<'a> Layout<'a> {
    fn new(bridges: &[BridgeAbility], wants: &'a [Want], kinds: &[Option<WindowKind>]) -> Self {
        let mut root = PerKind::<Row>::default();
        let mut behind = alloc::vec![PerKind::<Row>::default(); bridges.len()];
        for kind in KINDS {
            let mut loose: Vec<Vec<Item>> = alloc::vec![Vec::new(); bridges.len()];
            let mut loose_root = Vec::new();
            for (bar, want) in wants
                .iter()
                .enumerate()
                .filter(|&(bar, _)| kinds[bar] == Some(kind))
            {
                let last = match want.kind {
                    BarKind::PrefetchableMemory64 => u64::MAX,
                    _ => u64::from(u32::MAX),
                };
                let item = Item {
                    what: What::Bar(bar),
                    len_bytes: want.len_bytes,
                    align: want.len_bytes,
                    last,
                };
                want.above
                    .map_or(&mut loose_root, |above| &mut loose[above])
                    .push(item);
            }
            // Those behind come first, so that a bridge's window is among the items of the bus it is on.
            for (bridge, ability) in bridges.iter().enumerate().rev() {
                let row = Row::new(core::mem::take(&mut loose[bridge]));
                let (granule, last) = match kind {
                    WindowKind::Io => (IO_GRANULE_BYTES, ability.io_last.unwrap_or(0)),
                    _ => (MEMORY_GRANULE_BYTES, u64::MAX),
                };
                if let Some(item) = row.window(bridge, granule, last) {
                    ability
                        .above
                        .map_or(&mut loose_root, |above| &mut loose[above])
                        .push(item);
                }
                *behind[bridge].get_mut(kind) = row;
            }
            *root.get_mut(kind) = Row::new(loose_root);
        }
        Self {
            wants,
            bridge_count: bridges.len(),
            root,
            behind,
        }
    }

    /// Places the root bus's items, and with them the rest.
    ///
    /// # Errors
    /// The BAR to leave out.
    fn place(&self, windows: &[Window]) -> Result<Plan, usize> {
        let mut plan = Plan {
            bars: alloc::vec![None; self.wants.len()],
            windows: alloc::vec![PerKind::default(); self.bridge_count],
        };
        let mut pools: Vec<_> = windows.iter().map(Pool::new).collect();
        for kind in KINDS {
            for (_, item) in &self.root.get(kind).0 {
                let fallback = match kind {
                    WindowKind::PrefetchableMemory => WindowKind::Memory,
                    other => other,
                };
                let base =
                    take(&mut pools, kind, item).or_else(|| take(&mut pools, fallback, item));
                self.settle(
                    kind,
                    item,
                    base.ok_or_else(|| self.largest(kind, item))?,
                    &mut plan,
                );
            }
        }
        Ok(plan)
    }

    fn settle(&self, kind: WindowKind, item: &Item, base: u64, plan: &mut Plan) {
        match item.what {
            What::Bar(bar) => plan.bars[bar] = Some((kind, base)),
            What::Window(bridge) => {
                *plan.windows[bridge].get_mut(kind) = Some((base, item.len_bytes));
                for (offset, inner) in &self.behind[bridge].get(kind).0 {
                    self.settle(kind, inner, base + offset, plan);
                }
            }
        }
    }

    /// The largest BAR of an item.
    fn largest(&self, kind: WindowKind, item: &Item) -> usize {
        match item.what {
            What::Bar(bar) => bar,
            What::Window(bridge) => {
                // A window exists because something is in its row.
                let row = self.behind[bridge]
                    .get(kind)
                    .0
                    .iter()
                    .map(|(_, item)| self.largest(kind, item));
                row.max_by_key(|&bar| self.wants[bar].len_bytes)
                    .unwrap_or(0)
            }
        }
    }
}

fn take(pools: &mut [Pool], kind: WindowKind, item: &Item) -> Option<u64> {
    let mut of_kind = pools.iter_mut().filter(|pool| pool.kind == kind);
    of_kind.find_map(|pool| pool.take(item))
}

/// What is left of one window of the host bridge.
struct Pool {
    kind: WindowKind,
    /// First and last address of each gap.
    gaps: Vec<(u64, u64)>,
}

impl Pool {
    fn new(window: &Window) -> Self {
        // A BAR at 0 would read as not assigned, and what is fixed in the first addresses of a PC is never
        // said by anyone: interrupt controllers, timers, VGA.
        let first_usable = match window.kind {
            WindowKind::Io => 0x1000,
            _ => 0x10_0000,
        };
        let (first, last) = (window.bus.start().as_u64(), window.bus.last().as_u64());
        let gap = (first.max(first_usable), last);
        Self {
            kind: window.kind,
            gaps: (gap.0 <= gap.1).then_some(gap).into_iter().collect(),
        }
    }

    /// The first run of addresses that suits the item.
    fn take(&mut self, item: &Item) -> Option<u64> {
        let fit = |&(first, last): &(u64, u64)| {
            let start = first.checked_next_multiple_of(item.align)?;
            let end = start.checked_add(item.len_bytes - 1)?;
            (end <= last && end <= item.last).then_some((start, end))
        };
        let (gap, (start, end)) = self
            .gaps
            .iter()
            .enumerate()
            .find_map(|(gap, range)| Some((gap, fit(range)?)))?;
        let (first, last) = self.gaps.remove(gap);
        if end < last {
            self.gaps.insert(gap, (end + 1, last));
        }
        if first < start {
            self.gaps.insert(gap, (first, start - 1));
        }
        Some(start)
    }
}

/// `offset` or the next multiple; `u64::MAX`, which fits nowhere, if there is none.
fn align_up(offset: u64, align: u64) -> u64 {
    offset.checked_next_multiple_of(align).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
