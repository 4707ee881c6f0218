//! What QEMU's event queue says of each reason there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dmamap::iommu::fault::{Access, FaultReason};
use dmamap::iommu::{DomainError, RevokeError};
use dmamap::map::{FromDevice, MapFailure, ToDevice};
use hw::virtio::iommu::request::{Attach, AttachFlags, Detach, RequestType};

use crate::altered::{attach_of, map_of};
use crate::rig::{BOARDS, FRAME, KEPT, LEN, Rig, SENT, UNMAPPED, holds, is_reached};

/// What QEMU tells of an access that is not mapped, and of one that a mapping does not grant. Only of the latter it says
/// whether the device wrote.
#[test]
fn the_event_queue_tells_of_what_no_mapping_grants() {
    const MAPPING: FaultReason = FaultReason {
        code: 2,
        text: "no mapping grants the access",
    };
    for board in BOARDS {
        for (writes, is_mapped, access) in [
            (false, false, Access::Unknown),
            (true, false, Access::Unknown),
            (true, true, Access::Write),
        ] {
            let Some(mut rig) = Rig::boot(board) else {
                return;
            };
            let mut edu = rig.start();
            let lent = edu
                .device()
                .map_single(rig.buffer(FRAME, KEPT), ToDevice)
                .expect("it maps");
            let bus = match is_mapped {
                true => lent.bus_addr(),
                false => UNMAPPED,
            };
            // SAFETY: the unit confines the device to what is mapped.
            let done = unsafe {
                match writes {
                    true => edu.store_at(bus, LEN),
                    false => edu.fetch_at(bus, LEN),
                }
            };
            done.expect("the device answers");
            let fault = rig.fault(&edu);
            let told = (fault.reason, fault.address, fault.access);
            assert_eq!(told, (MAPPING, bus, access), "{board}");
            assert!(holds(&lent.unmap().expect("it comes back"), KEPT));
            edu.stop().detach().expect("it is detached");
            rig.finish();
        }
    }
}

/// An endpoint that the unit has forgotten, as it does when it is detached: it knows nothing of it, not even that. A
/// restart tells it again.
#[test]
fn the_event_queue_tells_of_endpoints_it_does_not_know() {
    const UNKNOWN: FaultReason = FaultReason {
        code: 0,
        text: "an internal error, or an error that cannot be told",
    };
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board) else {
            return;
        };
        let mut edu = rig.start();
        let endpoint = edu.device().requester().id.into();
        rig.altered.alter_next(RequestType::Map, move |words| {
            let domain = map_of(words).domain;
            // The unit reads no more than a request of that kind has.
            words[..Detach::WORDS].copy_from_slice(&Detach { domain, endpoint }.to_words());
        });
        let lent = edu
            .device()
            .map_single(rig.buffer(FRAME, KEPT), FromDevice)
            .expect("the unit did what it was asked");
        let bus = lent.bus_addr();
        edu.store(&lent, 0, LEN).expect("the device answers");
        let fault = rig.fault(&edu);
        let told = (fault.reason, fault.address, fault.access);
        assert_eq!(told, (UNKNOWN, bus, Access::Unknown), "{board}");
        let faults = rig.computer.system().faults().total;

        // SAFETY: the only device is quiet.
        unsafe { rig.computer.system().restart_units() }.expect("the unit answers");
        edu.store(&lent, 0, LEN).expect("it is written");
        assert_eq!(rig.computer.system().faults().total, faults, "{board}");
        assert!(holds(&lent.unmap().expect("it comes back"), SENT));
        edu.stop().detach().expect("it is detached");
        rig.finish();
    }
}

/// An endpoint that lost its domain: asked to put it into a domain of another kind, QEMU takes it out of its own before
/// it finds that it cannot. The driver, who asked for a mapping, is refused that and its undoing, and keeps the memory.
#[test]
fn the_event_queue_tells_of_endpoints_without_a_domain() {
    const DOMAIN: FaultReason = FaultReason {
        code: 1,
        text: "the endpoint is not attached to a domain",
    };
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board) else {
            return;
        };
        let others = Arc::new(AtomicU32::new(0));
        let told = others.clone();
        rig.altered.alter_next(RequestType::Attach, move |words| {
            told.store(attach_of(words).domain, Ordering::SeqCst);
        });
        let mut other = rig.start_number(1);
        let mut edu = rig.start();
        let attach = Attach {
            domain: others.load(Ordering::SeqCst),
            endpoint: edu.device().requester().id.into(),
            flags: AttachFlags::new().with_bypass(true),
        };
        rig.altered.alter_next(RequestType::Map, move |words| {
            assert_ne!(map_of(words).domain, attach.domain);
            words[..Attach::WORDS].copy_from_slice(&attach.to_words());
        });
        let buffer = rig.buffer(FRAME, KEPT);
        let rejected = edu.device().map_single(buffer, FromDevice);
        let rejected = rejected.expect_err("the unit refuses it");
        let unconfirmed = DomainError::Unconfirmed {
            cause: rig.refused("MAP", "invalid parameters"),
            undo: RevokeError::Unit(rig.refused("UNMAP", "no such domain or endpoint")),
        };
        let failure = MapFailure::Domain(unconfirmed);
        assert_eq!(rejected.error.failure, failure, "{board}");
        assert!(rejected.buffer.is_none(), "{board}: nobody took it away");
        let figures = edu.device().figures();
        assert_eq!(figures.live_mappings, 0, "{board}");
        assert_eq!(figures.quarantined_bytes, FRAME, "{board}");

        // SAFETY: the unit confines the device to nothing.
        unsafe { edu.fetch_at(UNMAPPED, LEN) }.expect("the device answers");
        let fault = rig.fault(&edu);
        let told = (fault.reason, fault.address, fault.access);
        assert_eq!(told, (DOMAIN, UNMAPPED, Access::Unknown), "{board}");
        // The other's domain is as it was.
        is_reached(&rig, &mut other);
        other.stop().detach().expect("it is detached");
        edu.stop().detach().expect("it is detached");
        rig.finish();
    }
}
