//! The page tables of a unit: which there are, and what stream table entries and context descriptors say of them.

use alloc::boxed::Box;

use hw::smmu::context::{Cd0, Cd1, ContextDescriptor};
use hw::smmu::regs::address_bits;
use hw::smmu::stream::{self, Ste2, Ste3, cacheability, shareability};

use super::SmmuUnit;
use super::device_table::Route;
use super::registers::Registers;
use crate::addr::PhysAddr;
use crate::iommu::translation::Translation;
use crate::iommu::unit::{
    AtMap, DomainId, MessageRoute, PassThrough, TableShape, TableShapes, UnitError, UnitFacts,
};
use crate::pagetable::{
    ArmLpaeStage1, ArmLpaeStage2, Format, FormatError, Granule, LeafSizes, PageTable, WalkCoherence,
};
use crate::platform::Platform;
use crate::system::Stage;

/// Widths of bus addresses that tables are made for, as far as a unit has them: what a table of three levels of 4 KiB
/// tells apart, and the widest.
const WIDTHS: [u32; 2] = [39, 48];

/// Levels, and leaf sizes, of the tables of a stage.
fn measure(
    stage: Stage,
    granule: Granule,
    input_bits: u32,
    output_bits: u32,
) -> Result<(u8, LeafSizes), FormatError> {
    Ok(match stage {
        Stage::First => {
            let format = ArmLpaeStage1::new(granule, input_bits, output_bits)?;
            (format.geometry().levels() as u8, format.leaf_sizes())
        }
        Stage::Second => {
            let format = ArmLpaeStage2::new(granule, input_bits, output_bits)?;
            (format.geometry().levels() as u8, format.leaf_sizes())
        }
    })
}

/// What domains on the unit look like.
pub(super) fn facts<P: Platform>(
    registers: &Registers<P>,
    stage: Stage,
    granule: Granule,
) -> UnitFacts {
    let output_bits = registers.output_bits();
    // Stage 2 translates no more than it could give (5.2, S2T0SZ).
    let widest = match stage {
        Stage::First => 48,
        Stage::Second => output_bits,
    };
    let mut leaf_sizes = LeafSizes::FOUR_KIB;
    let mut shapes: [Option<TableShape>; WIDTHS.len()] = [None; WIDTHS.len()];
    let mut count = 0;
    for width in WIDTHS {
        let address_bits = width.min(widest);
        let Ok((levels, sizes)) = measure(stage, granule, address_bits, output_bits) else {
            continue;
        };
        leaf_sizes = sizes;
        // Of two with as many levels the wider one counts.
        if count > 0 && shapes[count - 1].is_some_and(|last| last.levels == levels) {
            count -= 1;
        }
        shapes[count] = Some(TableShape {
            levels,
            address_bits: address_bits as u8,
        });
        count += 1;
    }
    let (asid16, vmid16) = (registers.idr0().asid16(), registers.idr0().vmid16());
    let wide_ids = match stage {
        Stage::First => asid16,
        Stage::Second => vmid16,
    };
    UnitFacts {
        tables: TableShapes::new(shapes.into_iter().flatten()),
        address_bits: widest as u8,
        leaf_sizes,
        pass_through: PassThrough::Supported,
        domain_ids: if wide_ids { 1 << 16 } else { 1 << 8 },
        // That there is no translation is not remembered (3.21.2).
        at_map: AtMap::Nothing,
        messages: MessageRoute::Translated,
    }
}

impl<P: Platform> SmmuUnit<P> {
    /// A table of `shape` with nothing mapped.
    pub(super) fn new_table(
        &self,
        shape: TableShape,
    ) -> Result<Box<dyn Translation<P>>, UnitError> {
        let unit = self.registers.base();
        let no_format = |_| UnitError::Unsupported {
            unit,
            feature: "tables of that shape",
        };
        let no_frames = |cause| UnitError::OutOfFrames { unit, cause };
        let input_bits = shape.address_bits.into();
        let output_bits = self.registers.output_bits();
        Ok(match self.stage {
            Stage::First => {
                let format = ArmLpaeStage1::new(self.granule, input_bits, output_bits)
                    .map_err(no_format)?
                    .with_coherence(self.coherence);
                Box::new(PageTable::new(self.platform, format).map_err(no_frames)?)
            }
            Stage::Second => {
                let format = ArmLpaeStage2::new(self.granule, input_bits, output_bits)
                    .map_err(no_format)?
                    .with_coherence(self.coherence);
                Box::new(PageTable::new(self.platform, format).map_err(no_frames)?)
            }
        })
    }

    /// What leads a stream to the table of `shape` at `root`.
    pub(super) fn route(
        &self,
        domain: DomainId,
        root: PhysAddr,
        shape: TableShape,
    ) -> Result<Route, UnitError> {
        let unsupported = UnitError::Unsupported {
            unit: self.registers.base(),
            feature: "tables of that shape",
        };
        let granule =
            stream::Granule::from_size_log2(self.granule.size_log2()).ok_or(unsupported)?;
        let size = 64 - shape.address_bits;
        let output_size = encoded(self.registers.output_bits());
        let (cacheable, share) = match self.coherence {
            WalkCoherence::Snooped => (cacheability::WRITE_BACK, shareability::INNER_SHAREABLE),
            WalkCoherence::NotSnooped => {
                (cacheability::NON_CACHEABLE, shareability::OUTER_SHAREABLE)
            }
        };
        match self.stage {
            Stage::First => {
                let word0 = Cd0::new()
                    .with_t0sz(size)
                    .with_tg0(granule)
                    .with_ir0(cacheable)
                    .with_or0(cacheable)
                    .with_sh0(share)
                    .with_epd1(true)
                    .with_v(true)
                    .with_ips(output_size)
                    .with_aa64(true)
                    .with_r(true)
                    .with_a(true)
                    .with_aset(true)
                    .with_asid(domain.0);
                Ok(Route::Stage1(ContextDescriptor {
                    word0,
                    word1: Cd1::new().with_ttb0(root.as_u64()),
                    mair: ArmLpaeStage1::MAIR,
                    ..ContextDescriptor::default()
                }))
            }
            Stage::Second => {
                let start = 4 - u32::from(shape.levels);
                let word2 = Ste2::new()
                    .with_s2vmid(domain.0)
                    .with_s2t0sz(size)
                    .with_s2sl0(stream::stage2_sl0(granule, start).ok_or(unsupported)?)
                    .with_s2ir0(cacheable)
                    .with_s2or0(cacheable)
                    .with_s2sh0(share)
                    .with_s2tg(granule)
                    .with_s2ps(output_size)
                    .with_s2aa64(true)
                    .with_s2r(true);
                Ok(Route::Stage2(word2, Ste3::new().with_s2ttb(root.as_u64())))
            }
        }
    }
}

/// How `IPS` and `S2PS` say `bits`, one of the widths there are.
fn encoded(bits: u32) -> u8 {
    (0..7)
        .find(|code| address_bits(*code) == Some(bits))
        .unwrap_or(0)
}
