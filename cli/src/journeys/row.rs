//! The rows of the table: a board, the way that requests of its devices take to memory, and whether they see the CPU's
//! caches.
//!
//! | board | ways |
//! |---|---|
//! | with an IOMMU | strict, deferred, bounce |
//! | without one | direct, offset, bounced, few lines |
//!
//! each coherent and not. QEMU's boards have one copy of memory, no offset, and disks with 64 address lines.

use dmamap::system::Protection;
use machine::cache::Snooping;
use machine::temper::Temper;

use crate::args::{BoardChoice, IommuChoice, JourneysArgs, WantedPolicy};
use crate::boards::{Listed, ListedHardware};

/// Why QEMU's boards have no row of devices that do not snoop.
pub(super) const QEMU_HAS_ONE_COPY: &str = "QEMU's memory has one copy: whether caches are maintained, nobody could \
                                            tell there";

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
            ListedHardware::Machine(IommuChoice::None) => {
                &[Self::Direct, Self::Offset, Self::Bounced, Self::FewLines]
            }
            ListedHardware::Qemu(board) if !board.has_iommu() => &[Self::Direct, Self::Bounced],
            ListedHardware::Machine(_) | ListedHardware::Qemu(_) => &Self::TRANSLATED,
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
    /// The tempers of the hardware's caches in which each of its journeys is made; one that says nothing where the
    /// hardware is of one temper.
    pub(super) tempers: Vec<Temper>,
    /// Steps of the differential run.
    pub(super) steps: u64,
}

impl Row<'_> {
    /// What stands before its outcomes.
    pub(super) fn head(&self) -> String {
        let kind = self.board.kind.name();
        head(&kind, &self.board.name, self.way.name(), self.devices)
    }
}

/// What stands before the outcomes of a row.
pub(super) fn head(kind: &str, board: &str, way: &str, devices: Snooping) -> String {
    let devices = match devices {
        Snooping::On => "coherent",
        Snooping::Off => "non-coherent",
    };
    format!("{kind:8}{board:21} {way:9} {devices:12}")
}

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
        let snooping: &[Snooping] = match (board.kind, args.non_coherent) {
            (BoardChoice::Machine, false) => &[Snooping::On, Snooping::Off],
            (BoardChoice::Machine, true) => &[Snooping::Off],
            (BoardChoice::Qemu, false) => &[Snooping::On],
            (BoardChoice::Qemu, true) => &[],
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

    fn of_models(rows: &[Row<'_>]) -> usize {
        let models = rows.iter();
        let models = models.filter(|row| row.board.kind == BoardChoice::Machine);
        models.count()
    }

    #[test]
    fn every_combination_is_a_row() {
        let boards = all();
        let rows = rows(&boards, &args(true, 1));
        // Six IOMMUs with three policies, and four ways without one, coherent and not.
        assert_eq!(of_models(&rows), (6 * 3 + 4) * 2);
        let tempers = rows.iter().map(|row| row.tempers.len());
        assert_eq!(
            tempers.sum::<usize>() - (rows.len() - of_models(&rows)),
            of_models(&rows) * 3
        );
        // Eleven boards with an IOMMU, and three without one.
        assert_eq!(rows.len() - of_models(&rows), 11 * 3 + 3 * 2);
    }

    #[test]
    fn three_seeds_make_every_row_in_every_temper() {
        let boards = all();
        let mut seen = Vec::new();
        for seed in [7, 8, 9] {
            let rows = rows(&boards, &args(false, seed));
            seen.resize(rows.len(), Vec::new());
            for (seen, row) in seen.iter_mut().zip(&rows) {
                seen.extend(row.tempers.iter().map(|&temper| temper_name(temper)));
            }
        }
        let all = rows(&boards, &args(true, 7));
        for (mut seen, row) in seen.into_iter().zip(all) {
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), row.tempers.len(), "{}", row.head());
        }
    }
}
