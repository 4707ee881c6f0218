//! What is to be forgotten when a domain's table or a stream's entry changes (4.3, 4.4).

use hw::smmu::command::{ConfigInvalidate, Opcode, TlbInvalidate};

use super::SmmuUnit;
use crate::iommu::command_ring::{Command, Commands, MAX_BATCH};
use crate::iommu::unit::{Change, DomainId, UnitError};
use crate::pagetable::{Granule, TableChange};
use crate::platform::Platform;
use crate::system::Stage;

/// Units of a range, at most.
const MAX_NUM: u64 = 32;
/// Largest log2 of granules in a unit.
const MAX_SCALE: u32 = 31;

/// How one command names the granule of its range.
fn granule_code(granule: Granule) -> u8 {
    match granule {
        Granule::FourKib => 1,
        Granule::SixteenKib => 2,
        Granule::SixtyFourKib => 3,
    }
}

impl<P: Platform> SmmuUnit<P> {
    fn tagged(&self, domain: DomainId) -> TlbInvalidate {
        match self.stage {
            Stage::First => TlbInvalidate::new().with_asid(domain.0),
            Stage::Second => TlbInvalidate::new().with_vmid(domain.0),
        }
    }

    /// Everything of `domain`.
    pub(super) fn whole(&self, domain: DomainId) -> Command {
        let opcode = match self.stage {
            Stage::First => Opcode::TlbiNhAsid,
            Stage::Second => Opcode::TlbiS12Vmall,
        };
        self.tagged(domain).with_op(opcode as u8).to_words()
    }

    /// What `change` made stale, or all of `domain` where that takes too many commands.
    #[inline]
    pub(super) fn changed(&self, domain: DomainId, change: Change) -> Commands {
        let (opcode, tags) = match self.stage {
            Stage::First => (Opcode::TlbiNhVa, (domain.0, 0)),
            Stage::Second => (Opcode::TlbiS2Ipa, (0, domain.0)),
        };
        let leaf = change.tables == TableChange::Kept;
        let granule_log2 = self.granule.size_log2();
        let first = change.range.start().as_u64() >> granule_log2;
        let last = change.range.last().as_u64() >> granule_log2;
        // One address, and the leaf that translates it, whatever its size.
        let single =
            |page: u64| TlbInvalidate::address_words(opcode, tags, leaf, page << granule_log2);
        let [low, high] = single(first);
        // A range of one granule without a level hint is reserved (4.4.1.1).
        if first == last {
            return Commands::One([low, high]);
        }
        if self.registers.idr3().ril() {
            return Commands::One(match range(self.granule, last - first + 1) {
                Some(bits) => [low | bits[0], high | bits[1]],
                None => self.whole(domain),
            });
        }
        if last - first >= MAX_BATCH as u64 {
            return Commands::One(self.whole(domain));
        }
        Commands::Several((first..=last).map(single).collect())
    }

    /// Makes the unit forget the entry of `stream` and what it leads to. When this returns it goes by what the entry
    /// says now.
    pub(super) fn forget_stream(&self, stream: u32) -> Result<(), UnitError> {
        let base = ConfigInvalidate::new().with_stream(stream);
        // The first level's descriptor too: it may have been remembered as one that leads nowhere.
        let commands = [Opcode::CfgiSte, Opcode::CfgiCdAll]
            .map(|opcode| base.with_op(opcode as u8).to_words());
        // To a unit without stage 1, context descriptors are an illegal command (4.3.4).
        let count = match self.stage {
            Stage::First => 2,
            Stage::Second => 1,
        };
        self.submit(&commands[..count], "stream table invalidation")
    }

    /// Makes the unit forget all translations of `domain`. Only after what leads to its table was
    /// [forgotten](Self::forget_stream): they would come back.
    pub(super) fn forget_domain(&self, domain: DomainId) -> Result<(), UnitError> {
        self.submit(&[self.whole(domain)], "TLB invalidation")
    }

    /// Hands commands to the unit and returns when it has done them, and requests that used what they removed have
    /// ended.
    pub(super) fn submit(&self, commands: &[Command], what: &'static str) -> Result<(), UnitError> {
        self.running.queue.submit(&self.registers, commands, what)
    }
}

/// The bits that make of a command about one address one about `pages` from there on, and as few behind them as it can: a
/// sixteenth as many at most. `None` where there are more than a range can have.
#[inline]
fn range(granule: Granule, pages: u64) -> Option<Command> {
    let scale = (0..=MAX_SCALE).find(|scale| pages.div_ceil(1 << scale) <= MAX_NUM)?;
    let num = pages.div_ceil(1 << scale);
    let tg = granule_code(granule);
    Some(TlbInvalidate::range_bits(tg, num as u8 - 1, scale as u8))
}
