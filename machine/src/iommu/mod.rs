//! IOMMU units: what stands between devices and memory.
//!
//! - [`translator`]: what the bus asks a unit, and what it answers.
//! - [`in_flight`]: how an invalidation waits for transactions on their way (drain);
//! - [`vtd`]: the Intel VT-d unit;
//! - [`virtio`]: the virtio-iommu.
//! - [`amd`]: the AMD-Vi unit.
//! - [`riscv`]: the RISC-V IOMMU.
//! - [`smmu`]: the Arm SMMUv3.
//!
//! What every model is made of: `worker` (its threads), `messages` (its interrupts), `translation_cache` and
//! `entry_cache` (what it remembers, in its temper), `table_memory` (how its walks read), `queue_hooks` (what tests
//! do to its queue), `reporter`, `counters`, and `reach`, to which `report` (the audit) and `freed` (frames freed too
//! early) listen. All speak of no vendor.
//!
//! A unit is built from its own configuration and a [`UnitEnvironment`], which is all it knows of the
//! machine around it.

pub mod amd;
mod counters;
mod entry_cache;
mod freed;
mod grant;
pub mod in_flight;
mod messages;
mod queue_hooks;
mod reach;
mod report;
mod reporter;
pub mod riscv;
pub mod smmu;
mod table_memory;
mod translation_cache;
pub mod translator;
pub mod virtio;
pub mod vtd;
mod worker;

use std::sync::Arc;

use board::hardware::Width;
use board::ram::Ram;

use crate::audit::Audit;
use crate::cache::MemoryView;
use crate::findings::Findings;
use crate::interrupts::Interrupts;
use crate::temper::Temper;
use translator::Translator;

/// What a unit is given of the machine.
#[derive(Clone)]
pub struct UnitEnvironment {
    /// Its name in findings and audits: "dmar0".
    pub name: String,
    /// Memory as its walks of root, context and page tables see it (snooping or not), and the queues of a unit that
    /// treats all its accesses alike (SMMUv3, RISC-V).
    pub walks: Arc<MemoryView>,
    /// Memory as accesses see it that always snoop: elsewhere the command queue, and the status writes of waits.
    pub ram: Arc<Ram>,
    /// Where its own interrupts (fault event, invalidation completion) go.
    pub interrupts: Arc<Interrupts>,
    /// Where it tells what a correct kernel never causes.
    pub findings: Findings,
    /// How its caches behave.
    pub temper: Temper,
    /// The seed of its dice.
    pub seed: u64,
}

/// An IOMMU unit, as the machine around it uses it.
pub trait Unit: Translator + 'static {
    /// A CPU read of the register at `offset` of the unit's registers.
    fn read_register(&self, offset: u64, width: Width) -> u64;

    /// A CPU write of the register at `offset` of the unit's registers.
    fn write_register(&self, offset: u64, width: Width, value: u64);

    /// The kernel freed these frames: whatever still leads to them (a cached translation, a cached or
    /// reachable table) is a finding.
    fn frames_freed(&self, phys: u64, len_bytes: u64);

    /// Whether the tables it walks can let a device write a page and not read it. Many of those that an operating system
    /// shares with its CPUs cannot.
    fn knows_write_only(&self) -> bool {
        true
    }

    /// Adds every leaf that can be reached from the unit's registers, if translation is on.
    fn audit(&self, audit: &mut Audit);

    /// Whether a device's write to the message window is translated like any other, and raises an interrupt if its
    /// physical address is in the window. Units that let such writes pass say no.
    fn translates_messages(&self) -> bool {
        false
    }

    /// Someone waits for the hardware: the unit does what it would have done in that time. Never waits itself.
    fn idle(&self) {}

    /// The unit had no power for a moment: its registers are as after reset, and it remembers nothing. No request is on its
    /// way, and nobody accesses it meanwhile.
    fn power_cycle(&self);

    /// The machine goes down: threads of the unit end and are joined before this returns. Called once or more.
    fn stop(&self) {}
}
