//! What one unit is built with, and the identification registers that say so.

use hw::smmu::regs::{
    Gbpa, Idr0, Idr1, Idr3, Idr5, StallModel, StreamTableLevels, TableEndianness, TableFormats,
    address_bits,
};
use hw::smmu::stream::Granule;

use crate::cache::Snooping;
pub use crate::iommu::vtd::Support;
use crate::memory_map::HOST_ADDRESS_BITS;

/// Which stages of translation a unit has (`IDR0.S1P`, `IDR0.S2P`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Stage 1.
    First,
    /// Stage 2.
    Second,
    /// Both, and one after the other.
    Both,
}

/// What firmware left of the bypass attributes (`GBPA`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileOff {
    /// Requests pass.
    Bypass,
    /// Requests are aborted.
    Abort,
}

/// Who tells that the unit's accesses are coherent, where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoherenceTold {
    /// Its register (`IDR0.COHACC`).
    ByRegister,
    /// Firmware only, in IORT; the register denies it.
    ByFirmware,
}

/// Everything that differs from one unit to another.
#[derive(Clone, Debug)]
pub struct SmmuConfig {
    /// Physical address of the registers, for the unit's findings: it is told offsets only.
    pub register_base: u64,
    /// Stages.
    pub stages: Stages,
    /// Width of physical addresses (`IDR5.OAS`): 32, 36, 40, 42, 44 or 48.
    pub output_bits: u32,
    /// Granules of page tables (`IDR5`).
    pub granules: Vec<Granule>,
    /// Stream tables it reads (`IDR0.ST_LEVEL`).
    pub stream_tables: StreamTableLevels,
    /// Width of a stream id (`IDR1.SIDSIZE`).
    pub stream_bits: u32,
    /// The stream of requester 0; those of the others follow.
    pub first_stream: u32,
    /// Width of an ASID (`IDR0.ASID16`): 8 or 16.
    pub asid_bits: u32,
    /// Width of a VMID (`IDR0.VMID16`): 8 or 16.
    pub vmid_bits: u32,
    /// Invalidation of ranges (`IDR3.RIL`).
    pub range_invalidation: Support,
    /// Messages for the unit's interrupts (`IDR0.MSI`). Without, they are wires that lead nowhere in this machine.
    pub messages: Support,
    /// log₂ of the entries of the largest command queue (`IDR1.CMDQS`).
    pub command_queue_log2: u32,
    /// log₂ of the entries of the largest event queue (`IDR1.EVENTQS`).
    pub event_queue_log2: u32,
    /// Who tells that its accesses are coherent, where they are.
    pub coherence_told: CoherenceTold,
    /// What becomes of requests until software changes it.
    pub while_off: WhileOff,
    /// Bits of the addresses that the root complex before the unit passes on, as firmware tells (IORT).
    pub root_complex_bits: u8,
}

impl Default for SmmuConfig {
    /// A unit as servers have it: both stages, all granules, tables of two levels, 44 bits.
    fn default() -> Self {
        Self {
            register_base: 0xfea0_0000,
            stages: Stages::Both,
            output_bits: 44,
            granules: vec![Granule::Size4K, Granule::Size16K, Granule::Size64K],
            stream_tables: StreamTableLevels::TwoLevel,
            stream_bits: 16,
            first_stream: 0,
            asid_bits: 16,
            vmid_bits: 16,
            range_invalidation: Support::Yes,
            messages: Support::Yes,
            command_queue_log2: 19,
            event_queue_log2: 19,
            coherence_told: CoherenceTold::ByRegister,
            while_off: WhileOff::Bypass,
            root_complex_bits: HOST_ADDRESS_BITS,
        }
    }
}

/// A unit that cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmmuConfigError {
    /// `IDR5.OAS` cannot say this width, or the model does not have it.
    #[error("physical addresses have 32, 36, 40, 42, 44 or 48 bits, not {0}")]
    OutputBits(u32),
    /// No table could be walked.
    #[error("a unit walks tables of at least one granule")]
    Granules,
    /// `IDR1.SIDSIZE` is at most 32.
    #[error("a stream id has 0 to 32 bits, not {0}")]
    StreamBits(u32),
    /// `IDR0` has two widths.
    #[error("an ASID or VMID has 8 or 16 bits, not {0}")]
    TagBits(u32),
    /// Indices of queues have 20 bits.
    #[error("a queue has at most 2^19 entries, not 2^{0}")]
    QueueLog2(u32),
    /// The host gave no thread for the unit.
    #[error("no thread for the unit: {0}")]
    NoThread(std::io::ErrorKind),
}

/// The identification registers of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identification {
    pub(super) idr0: Idr0,
    pub(super) idr1: Idr1,
    pub(super) idr3: Idr3,
    pub(super) idr5: Idr5,
}

impl Identification {
    /// Width of a physical address.
    pub(super) fn output_bits(self) -> u32 {
        address_bits(self.idr5.oas()).unwrap_or(32)
    }

    /// Whether tables of `granule` are walked.
    pub(super) fn walks(self, granule: Granule) -> bool {
        match granule {
            Granule::Size4K => self.idr5.gran4k(),
            Granule::Size16K => self.idr5.gran16k(),
            Granule::Size64K => self.idr5.gran64k(),
            Granule::Reserved => false,
        }
    }
}

impl SmmuConfig {
    /// The identification registers of such a unit, whose accesses see memory through a `snooping` view
    /// (`IDR0.COHACC`).
    pub(super) fn identification(
        &self,
        snooping: Snooping,
    ) -> Result<Identification, SmmuConfigError> {
        let oas = (0..6)
            .find(|oas| address_bits(*oas) == Some(self.output_bits))
            .ok_or(SmmuConfigError::OutputBits(self.output_bits))?;
        let has = |granule| self.granules.contains(&granule);
        if ![Granule::Size4K, Granule::Size16K, Granule::Size64K]
            .into_iter()
            .any(has)
        {
            return Err(SmmuConfigError::Granules);
        }
        if self.stream_bits > 32 {
            return Err(SmmuConfigError::StreamBits(self.stream_bits));
        }
        for bits in [self.asid_bits, self.vmid_bits] {
            if bits != 8 && bits != 16 {
                return Err(SmmuConfigError::TagBits(bits));
            }
        }
        for log2 in [self.command_queue_log2, self.event_queue_log2] {
            if log2 > 19 {
                return Err(SmmuConfigError::QueueLog2(log2));
            }
        }
        let idr0 = Idr0::new()
            .with_s1p(self.stages != Stages::Second)
            .with_s2p(self.stages != Stages::First)
            .with_ttf(TableFormats::AArch64)
            .with_cohacc(
                snooping == Snooping::On && self.coherence_told == CoherenceTold::ByRegister,
            )
            .with_asid16(self.asid_bits == 16)
            .with_vmid16(self.vmid_bits == 16)
            .with_msi(self.messages == Support::Yes)
            .with_ttendian(TableEndianness::Little)
            .with_stall_model(StallModel::Terminate)
            .with_term_model(true)
            .with_st_level(self.stream_tables);
        let idr1 = Idr1::new()
            .with_sidsize(self.stream_bits as u8)
            .with_cmdqs(self.command_queue_log2 as u8)
            .with_eventqs(self.event_queue_log2 as u8);
        let idr3 = Idr3::new().with_ril(self.range_invalidation == Support::Yes);
        let idr5 = Idr5::new()
            .with_oas(oas)
            .with_gran4k(has(Granule::Size4K))
            .with_gran16k(has(Granule::Size16K))
            .with_gran64k(has(Granule::Size64K));
        Ok(Identification {
            idr0,
            idr1,
            idr3,
            idr5,
        })
    }

    /// What firmware left in `GBPA`.
    pub(super) fn gbpa(&self) -> Gbpa {
        Gbpa::new()
            .with_shcfg(1)
            .with_abort(self.while_off == WhileOff::Abort)
    }
}
