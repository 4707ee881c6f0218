//! The rows of the table: a board, the way that requests of its devices take to memory, and whether they see the CPU's
//! caches.
//!
//! | board | ways |
//! |---|---|
//! | with an IOMMU | strict, deferred, bounce |
//! | without one | direct, offset, bounced, few lines |
//!
//! each coherent and not. Rows that a board cannot have are there, too, and say why.

use dmamap::system::Protection;
use machine::cache::Snooping;
use machine::temper::Temper;

use crate::args::{BoardChoice, IommuChoice, JourneysArgs, WantedPolicy};
use crate::boards::{Listed, ListedHardware};

/// Why no board of QEMU's has devices that do not snoop.
const ONE_COPY: &str =
    "QEMU's memory has one copy: whether caches are maintained, nobody could tell there";
/// Nor an offset.
const NO_OFFSET: &str = "devices on QEMU's host bridges find memory at its physical addresses";
/// Nor disks with few address lines.
const ALL_LINES: &str = "QEMU's disks have 64 address lines";

/// What the bus adds to physical addresses where it adds something. It leaves no memory at an equal address, and keeps clear
/// of the host bridge's windows.
pub(super) const INBOUND_OFFSET: u64 = 0x80_0000_0000;

/// Address lines of disks that have few.
pub(super) const FEW_LINES: u32 = 28;

/// The way of devices' requests to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// An IOMMU translates, and memory is protected so.
    Translated(Protection),
    /// Bus addresses are physical ones.
    Direct,
    /// Bus addresses are physical ones and an offset.
    Offset,
    /// Every mapping is copied.
    Bounced,
    /// The disks have few address lines: what they do not reach is copied.
    FewLines,
}

impl Way {
    const TRANSLATED: [Self; 3] = [
        Self::Translated(Protection::Strict),
        Self::Translated(Protection::Deferred),
        Self::Translated(Protection::Bounce),
    ];

    const UNTRANSLATED: [Self; 4] = [Self::Direct, Self::Offset, Self::Bounced, Self::FewLines];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Translated(Protection::Deferred) => "deferred",
            Self::Translated(Protection::Bounce) => "bounce",
            Self::Translated(_) => "strict",
            Self::Direct => "direct",
            Self::Offset => "offset",
            Self::Bounced => "bounced",
            Self::FewLines => "few lines",
        }
    }

    /// How journeys attach devices that need not be trusted.
    pub(super) fn protection(self) -> Protection {
        match self {
            Self::Translated(protection) => protection,
            Self::Direct | Self::Offset | Self::Bounced | Self::FewLines => Protection::Strict,
        }
    }

    fn of(hardware: &ListedHardware) -> &'static [Self] {
        match hardware {
            ListedHardware::Machine(IommuChoice::None) => &Self::UNTRANSLATED,
            ListedHardware::Qemu(board) if !board.has_iommu() => &Self::UNTRANSLATED,
            ListedHardware::Machine(_) | ListedHardware::Qemu(_) => &Self::TRANSLATED,
        }
    }

    /// Why a board of this kind has no such row.
    fn refusal(self, kind: BoardChoice, devices: Snooping) -> Option<&'static str> {
        match (kind, self, devices) {
            (BoardChoice::Machine, ..) => None,
            (BoardChoice::Qemu, _, Snooping::Off) => Some(ONE_COPY),
            (BoardChoice::Qemu, Self::Offset, Snooping::On) => Some(NO_OFFSET),
            (BoardChoice::Qemu, Self::FewLines, Snooping::On) => Some(ALL_LINES),
            (BoardChoice::Qemu, _, Snooping::On) => None,
        }
    }

    fn is_wanted(self, policy: WantedPolicy) -> bool {
        match policy {
            WantedPolicy::All => true,
            WantedPolicy::Strict => self == Self::Translated(Protection::Strict),
            WantedPolicy::Deferred => self == Self::Translated(Protection::Deferred),
            WantedPolicy::Bounce => self == Self::Translated(Protection::Bounce),
        }
    }
}

/// A row.
pub(super) struct Row<'a> {
    pub(super) board: &'a Listed,
    pub(super) way: Way,
    /// Whether devices see the CPU's caches.
    pub(super) devices: Snooping,
    /// Why the board cannot have it.
    pub(super) refusal: Option<&'static str>,
    /// The tempers of the hardware's caches in which each of its journeys is made; one that says nothing where the
    /// hardware is of one temper.
    pub(super) tempers: Vec<Temper>,
    /// Steps of the differential run.
    pub(super) steps: u64,
}

impl Row<'_> {
    /// What stands before its outcomes.
    pub(super) fn head(&self) -> String {
        let devices = match self.devices {
            Snooping::On => "coherent",
            Snooping::Off => "non-coherent",
        };
        format!("  {:9} {devices:12}", self.way.name())
    }
}

/// Columns before the first outcome.
pub(super) const HEAD_COLUMNS: usize = 24;

/// What a temper is called.
pub(super) fn temper_name(temper: Temper) -> &'static str {
    match temper {
        Temper::Keep => "keep",
        Temper::Forget => "forget",
        Temper::Random(_) => "random",
    }
}

/// The rows of these boards that are asked for.
///
/// Unless all are asked for, only rows of the strictest protection, and of devices that snoop, are made in every temper;
/// the others take turns, and another seed gives each the next. On QEMU's boards rows of other protections then make a
/// tenth of the differential run.
pub(super) fn rows<'a>(boards: &'a [Listed], args: &JourneysArgs) -> Vec<Row<'a>> {
    let tempers = [Temper::Keep, Temper::Forget, Temper::Random(args.seed)];
    let mut rows: Vec<Row<'a>> = Vec::new();
    for board in boards {
        let snooping: &[Snooping] = match args.non_coherent {
            false => &[Snooping::On, Snooping::Off],
            true => &[Snooping::Off],
        };
        let wanted = Way::of(&board.hardware).iter();
        let wanted = wanted.filter(|way| way.is_wanted(args.policy));
        for (&way, &devices) in wanted.flat_map(|way| snooping.iter().map(move |each| (way, each)))
        {
            let first = matches!(way, Way::Direct | Way::Translated(Protection::Strict));
            let tempers = match board.kind {
                BoardChoice::Qemu => vec![Temper::Keep],
                BoardChoice::Machine if args.all || first && devices == Snooping::On => {
                    tempers.to_vec()
                }
                BoardChoice::Machine => {
                    let turn = (rows.len() as u64).wrapping_add(args.seed) % 3;
                    vec![tempers[turn as usize]]
                }
            };
            // Every step takes QEMU many messages.
            let steps = match board.kind {
                BoardChoice::Qemu if !first && !args.all => args.steps.div_ceil(10),
                BoardChoice::Qemu | BoardChoice::Machine => args.steps,
            };
            rows.push(Row {
                board,
                way,
                devices,
                refusal: way.refusal(board.kind, devices),
                tempers,
                steps,
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::all;

    fn args(all: bool, seed: u64) -> JourneysArgs {
        JourneysArgs {
            board: None,
            policy: WantedPolicy::All,
            non_coherent: false,
            all,
            steps: 1,
            seed,
            name: None,
        }
    }

    #[test]
    fn every_combination_is_a_row() {
        let boards = all();
        let rows = rows(&boards, &args(true, 1));
        let of_models = |row: &&Row<'_>| row.board.kind == BoardChoice::Machine;
        let (models, qemus): (Vec<_>, Vec<_>) = rows.iter().partition(of_models);
        // Six IOMMUs with three protections, and four ways without one, coherent and not.
        assert_eq!(models.len(), (6 * 3 + 4) * 2);
        assert!(
            models
                .iter()
                .all(|row| row.refusal.is_none() && row.tempers.len() == 3)
        );
        // Eleven boards with an IOMMU, and three without one, of whose ways two cannot be.
        assert_eq!(qemus.len(), (11 * 3 + 3 * 4) * 2);
        let made = qemus.iter().filter(|row| row.refusal.is_none());
        assert_eq!(made.count(), 11 * 3 + 3 * 2);
        assert!(rows.iter().all(|row| row.head().len() == HEAD_COLUMNS));
    }

    #[test]
    fn three_seeds_make_every_row_in_every_temper() {
        let boards = all();
        let mut seen: Vec<Vec<&str>> = Vec::new();
        for seed in [7, 8, 9] {
            let rows = rows(&boards, &args(false, seed));
            seen.resize(rows.len(), Vec::new());
            for (seen, row) in seen.iter_mut().zip(&rows) {
                seen.extend(row.tempers.iter().map(|&temper| temper_name(temper)));
            }
        }
        for (mut seen, row) in seen.into_iter().zip(rows(&boards, &args(true, 7))) {
            seen.sort_unstable();
            seen.dedup();
            let name = &row.board.name;
            assert_eq!(seen.len(), row.tempers.len(), "{name} {}", row.head());
        }
    }
}
