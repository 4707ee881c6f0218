//! Commands for each mebibyte that passes through a ring of descriptors of 256 KiB, waits counted.

use std::collections::VecDeque;

use crate::did::{Did, reaches, ring_kinds};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Mapping};
use dmamap::system::{Protection, Settings};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::Iommu;
use machine::cache::Snooping;
use machine::iommu::riscv::{Extension, RiscvConfig};
use machine::iommu::smmu::{SmmuConfig, Support};
use rig::{EDU, PAGE, Rig, buffer_of, small};

const DESCRIPTOR: u64 = 256 << 10;
/// Descriptors of the ring.
const RING: usize = 16;
const MIB: u64 = 64;

/// How a device's memory is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Strict,
    Deferred,
}

impl Policy {
    /// Most commands for a mebibyte.
    fn most(self) -> u64 {
        match self {
            Self::Strict => 8,
            Self::Deferred => 2,
        }
    }

    fn attach(self, rig: &Rig) -> Device<Hosted> {
        match self {
            Self::Strict => rig.attach(EDU),
            Self::Deferred => rig.attach_trusted(EDU, Protection::Deferred),
        }
    }
}

type Descriptor = Mapping<Hosted, DmaBuffer<Hosted>, Bidirectional>;

/// The first and the last page of `descriptor`.
fn ends(descriptor: &Descriptor) -> [u64; 2] {
    let range = descriptor.range();
    [range.start().as_u64(), range.last().as_u64() & !(PAGE - 1)]
}

/// Maps a buffer whose first and last page the unit then remembers, and the way to them.
fn post(rig: &Rig, device: &Device<Hosted>, buffer: DmaBuffer<Hosted>) -> Descriptor {
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    assert!(
        ends(&mapping)
            .iter()
            .all(|&bus| reaches(&rig.machine, EDU.id, bus))
    );
    mapping
}

/// Whether a command can name a range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    Known,
    Unknown,
}

fn check(kind: &str, policy: Policy, len_bytes: u64, ranges: Ranges, rig: Rig) {
    let what = format!("{kind}, {policy:?}, descriptors of {len_bytes:#x}");
    let device = policy.attach(&rig);
    let mut ring: VecDeque<Descriptor> = (0..RING)
        .map(|n| post(&rig, &device, buffer_of(rig.kernel, len_bytes, n as u8)))
        .collect();
    let mut pass = |mib: u64| {
        for _ in 0..mib * (1 << 20) / DESCRIPTOR {
            let done = ring.pop_front().expect("the ring is full");
            let gone = ends(&done);
            let buffer = done.unmap().unwrap();
            if policy == Policy::Strict {
                let reached = gone.iter().any(|&bus| reaches(&rig.machine, EDU.id, bus));
                assert!(!reached, "{what}: a translation is left");
            }
            ring.push_back(post(&rig, &device, buffer));
        }
        device.flush().unwrap();
    };
    // Until the ring has been through all addresses that it goes through.
    pass(MIB);
    let before = Did::read(&rig.machine);
    pass(MIB);
    let did = Did::read(&rig.machine) - before;
    assert!(did.invalidations > 0 && did.waits > 0, "{what}: {did:?}");
    let commands = did.invalidations + did.waits;
    assert!(
        commands <= policy.most() * MIB,
        "{what}: {did:?} for {MIB} MiB"
    );
    let forgotten = did.table_invalidations;
    match ranges {
        Ranges::Known => assert_eq!(forgotten, 0, "{what}: and no table was unlinked"),
        Ranges::Unknown => assert_eq!(forgotten, did.invalidations, "{what}"),
    }

    // Now tables are, and what leads to them must go.
    let unmapped = ring
        .into_iter()
        .map(|descriptor| descriptor.unmap().unwrap());
    let buffers: Vec<_> = unmapped.collect();
    device.flush().unwrap();
    drop(buffers);
    let before = Did::read(&rig.machine);
    device.reclaim().unwrap();
    let did = Did::read(&rig.machine) - before;
    assert!(did.table_invalidations > 0, "{what}: {did:?}");
    device.detach().unwrap();
    rig.finish_after_faults();
}

/// So few unmaps share a flush that no more tables are empty meanwhile than a domain keeps: none is unlinked.
fn few_tables() -> BootOptions {
    let units = Settings {
        flush_entries: Some(16),
        flush_window_ms: 600_000,
        ..Settings::default()
    };
    BootOptions {
        units,
        ..BootOptions::default()
    }
}

/// Both policies, and both kinds of descriptors: the second are memory that begins inside a page, a page more.
fn each(mut call: impl FnMut(Policy, u64)) {
    for policy in [Policy::Strict, Policy::Deferred] {
        for len_bytes in [DESCRIPTOR, DESCRIPTOR + PAGE] {
            call(policy, len_bytes);
        }
    }
}

fn boot(iommu: &Iommu) -> Rig {
    Rig::boot_with(small().with_iommu(iommu.clone()), few_tables())
}

#[test]
fn a_ring_of_256_kib_costs_few_commands_and_no_walk_caches() {
    for (kind, iommu) in ring_kinds() {
        let iommu = match iommu {
            Iommu::Riscv { unit, walks } => Iommu::Riscv {
                unit: RiscvConfig {
                    range_invalidation: Extension::Present,
                    ..unit
                },
                walks,
            },
            iommu => iommu,
        };
        each(|policy, len_bytes| check(kind, policy, len_bytes, Ranges::Known, boot(&iommu)));
    }
}

/// Page by page would be 64 commands for each descriptor, so everything of the domain goes.
#[test]
fn units_without_ranges_are_told_of_a_domain_in_as_few_commands() {
    let walks = Snooping::On;
    let smmu = SmmuConfig {
        range_invalidation: Support::No,
        ..SmmuConfig::default()
    };
    let riscv = RiscvConfig {
        range_invalidation: Extension::Absent,
        ..RiscvConfig::default()
    };
    let units = [
        ("smmu", Iommu::Smmu { unit: smmu, walks }),
        ("riscv", Iommu::Riscv { unit: riscv, walks }),
    ];
    for (kind, iommu) in units {
        each(|policy, len_bytes| check(kind, policy, len_bytes, Ranges::Unknown, boot(&iommu)));
    }
}
