//! Which of its tables a unit walks, and what domains on it look like then (VT-d 3.4, 11.4.2, 11.4.3).

use hw::vtd::regs::{Cap, Ecap, TranslationTableMode};
use hw::vtd::root::AddressWidth;

use crate::iommu::unit::{AtMap, MessageRoute, PassThrough, TableShape, TableShapes, UnitFacts};
use crate::pagetable::LeafSizes;
use crate::system::{Settings, Stage, TableMode};

/// How one unit translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By context entries that name second-stage tables.
    Legacy,
    /// By PASID-table entries that name tables of a stage.
    Scalable(Stage),
}

impl Mode {
    /// The mode that `settings` ask for, or else scalable mode where the unit has it with a stage that is wanted: the
    /// mode that later units are made for. Legacy mode otherwise, which every unit with second-stage tables has.
    ///
    /// # Errors
    /// What the unit lacks.
    pub(super) fn choose(cap: Cap, ecap: Ecap, settings: &Settings) -> Result<Self, &'static str> {
        let walks_second = cap.sagaw().into_bits() != 0;
        let scalable = Self::scalable(ecap, walks_second, settings.stage);
        let legacy = match settings.stage {
            Some(Stage::First) => Err("first-stage tables in legacy mode"),
            _ if walks_second => Ok(Self::Legacy),
            _ => Err("page tables of 3 to 5 levels"),
        };
        match settings.mode {
            Some(TableMode::Legacy) => legacy,
            Some(TableMode::Scalable) => scalable,
            None if settings.stage == Some(Stage::First) => scalable,
            None => scalable.or(legacy),
        }
    }

    fn scalable(
        ecap: Ecap,
        walks_second: bool,
        stage: Option<Stage>,
    ) -> Result<Self, &'static str> {
        if !ecap.smts() {
            return Err("scalable mode (ECAP.SMTS)");
        }
        let first = ecap.fsts();
        let second = ecap.ssts() && walks_second;
        match stage {
            Some(Stage::First) if !first => Err("first-stage tables in scalable mode (ECAP.FSTS)"),
            Some(Stage::Second) if !second => {
                Err("second-stage tables in scalable mode (ECAP.SSTS)")
            }
            Some(stage) => Ok(Self::Scalable(stage)),
            None if first => Ok(Self::Scalable(Stage::First)),
            None if second => Ok(Self::Scalable(Stage::Second)),
            None => Err("page tables in scalable mode (ECAP.FSTS, ECAP.SSTS)"),
        }
    }

    /// What `RTADDR.TTM` says.
    pub(super) fn table_mode(self) -> TranslationTableMode {
        match self {
            Self::Legacy => TranslationTableMode::Legacy,
            Self::Scalable(_) => TranslationTableMode::Scalable,
        }
    }

    /// Whether walks of page tables see the CPU's caches.
    pub(super) fn snoops(self, ecap: Ecap) -> bool {
        match self {
            Self::Legacy => ecap.c(),
            Self::Scalable(_) => ecap.smpwc(),
        }
    }

    /// What domains on a unit with these capabilities look like.
    pub(super) fn facts(self, cap: Cap, ecap: Ecap) -> UnitFacts {
        let first = self == Self::Scalable(Stage::First);
        let (tables, address_bits, size_2m, size_1g) = if first {
            // Half of the canonical addresses: 48 or 57 bits, the highest of which is that of all above. Of these,
            // those the unit lets in at all (3.6: the least of both).
            let canonical = if cap.fs5lp() { 56 } else { 47 };
            let bits = canonical.min(cap.guest_address_bits() as u8);
            (first_stage_tables(cap), bits, true, cap.fs1gp())
        } else {
            let sizes = cap.sslps();
            let bits = cap.guest_address_bits() as u8;
            (
                second_stage_tables(cap),
                bits,
                sizes.size_2m(),
                sizes.size_1g(),
            )
        };
        let mut leaf_sizes = LeafSizes::FOUR_KIB;
        if size_2m {
            leaf_sizes = leaf_sizes | LeafSizes::TWO_MIB;
        }
        if size_1g {
            leaf_sizes = leaf_sizes | LeafSizes::ONE_GIB;
        }
        UnitFacts {
            tables,
            address_bits,
            leaf_sizes,
            pass_through: if ecap.pt() {
                PassThrough::Supported
            } else {
                PassThrough::Unsupported
            },
            domain_ids: 1 << cap.domain_id_bits(),
            at_map: if cap.cm() {
                AtMap::Invalidate
            } else if cap.rwbf() {
                AtMap::FlushWriteBuffer
            } else {
                AtMap::Nothing
            },
            messages: MessageRoute::Aside,
        }
    }
}

fn first_stage_tables(cap: Cap) -> TableShapes {
    let five = cap.fs5lp().then_some(TableShape {
        levels: 5,
        address_bits: 56,
    });
    let four = TableShape {
        levels: 4,
        address_bits: 47,
    };
    TableShapes::new([four].into_iter().chain(five))
}

fn second_stage_tables(cap: Cap) -> TableShapes {
    let widths = cap.sagaw();
    let shapes = [
        (widths.bits_39(), 3),
        (widths.bits_48(), 4),
        (widths.bits_57(), 5),
    ];
    let walked = shapes.into_iter().filter(|(walked, _)| *walked);
    TableShapes::new(walked.map(|(_, levels)| TableShape {
        levels,
        address_bits: 12 + 9 * levels,
    }))
}

/// The widest second-stage table of a unit, which pass-through asks for in legacy mode (9.3, AW).
pub(super) fn widest(cap: Cap) -> AddressWidth {
    let widest = second_stage_tables(cap).iter().last();
    widest
        .and_then(|shape| AddressWidth::from_levels(shape.levels.into()))
        .unwrap_or(AddressWidth::Reserved)
}

#[cfg(test)]
mod tests {
    use hw::vtd::regs::AddressWidths;

    use super::*;

    fn choose(
        ecap: Ecap,
        mode: Option<TableMode>,
        stage: Option<Stage>,
    ) -> Result<Mode, &'static str> {
        let cap = Cap::new().with_sagaw(AddressWidths::new().with_bits_48(true));
        let settings = Settings {
            mode,
            stage,
            ..Settings::default()
        };
        Mode::choose(cap, ecap, &settings)
    }

    #[test]
    fn scalable_mode_is_taken_where_the_unit_has_it_unless_legacy_mode_is_asked_for() {
        let all = Ecap::new().with_smts(true).with_fsts(true).with_ssts(true);
        let (first, second) = (Mode::Scalable(Stage::First), Mode::Scalable(Stage::Second));
        let scalable = Some(TableMode::Scalable);
        for mode in [None, scalable] {
            assert_eq!(choose(all, mode, None), Ok(first));
            assert_eq!(choose(all, mode, Some(Stage::First)), Ok(first));
            assert_eq!(choose(all, mode, Some(Stage::Second)), Ok(second));
            assert_eq!(choose(all.with_fsts(false), mode, None), Ok(second));
        }
        let legacy = Some(TableMode::Legacy);
        assert_eq!(choose(all, legacy, None), Ok(Mode::Legacy));
        assert_eq!(choose(all, legacy, Some(Stage::Second)), Ok(Mode::Legacy));
    }

    #[test]
    fn legacy_mode_is_taken_where_scalable_mode_lacks_what_is_wanted() {
        let neither = Ecap::new().with_smts(true);
        assert_eq!(choose(Ecap::new(), None, None), Ok(Mode::Legacy));
        assert_eq!(choose(neither, None, None), Ok(Mode::Legacy));
        let first_only = neither.with_fsts(true);
        assert_eq!(
            choose(first_only, None, Some(Stage::Second)),
            Ok(Mode::Legacy)
        );
    }

    #[test]
    fn the_units_address_width_bounds_first_stage_tables_too() {
        let first = Mode::Scalable(Stage::First);
        let bits = |mgaw, five| {
            let cap = Cap::new().with_mgaw(mgaw).with_fs5lp(five);
            first.facts(cap, Ecap::new()).address_bits
        };
        assert_eq!(
            [38, 46, 47, 56].map(|mgaw| bits(mgaw, false)),
            [39, 47, 47, 47]
        );
        assert_eq!([38, 47, 56].map(|mgaw| bits(mgaw, true)), [39, 48, 56]);
    }

    #[test]
    fn what_the_unit_lacks_is_said() {
        let legacy = Ecap::new();
        let scalable = Ecap::new().with_smts(true);
        for (ecap, mode, stage) in [
            (legacy, None, Some(Stage::First)),
            (legacy, Some(TableMode::Scalable), None),
            (legacy, Some(TableMode::Legacy), Some(Stage::First)),
            (scalable, Some(TableMode::Scalable), None),
            (scalable, Some(TableMode::Scalable), Some(Stage::First)),
            (scalable, Some(TableMode::Scalable), Some(Stage::Second)),
        ] {
            assert!(choose(ecap, mode, stage).is_err(), "{mode:?} {stage:?}");
        }
        assert!(Mode::choose(Cap::new(), legacy, &Settings::default()).is_err());
    }
}
