//! Who a request comes from, as the wires say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::Access;

/// A function's identity on the bus and what its configuration allows it.
#[derive(Debug)]
pub struct Requester {
    device_function: u8,
    /// Captured from configuration writes, as functions do (PCI Express base specification, 2.2.6.2).
    bus: AtomicU8,
    master: AtomicBool,
    removed: AtomicBool,
    pending: AtomicUsize,
    address_lines: u32,
    privilege: Privilege,
    /// The bridges between the function and memory, the one at the root first: each forwards requests only as a bus
    /// master itself.
    upstream: Vec<Arc<Requester>>,
    /// Of a bridge to a conventional bus: in whose name it makes the requests of what is behind it.
    names: Option<ConventionalIds>,
    /// Of a bridge: the bus behind it, as last programmed.
    secondary: AtomicU8,
    read: AtomicU64,
    written: AtomicU64,
    refused: AtomicU64,
}

/// Which ids requests of a conventional bus carry in PCI Express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConventionalIds {
    /// Device 0, function 0 of the bus behind the bridge.
    Bridge,
    /// Those of writes as above, those of reads the function's own, as transactions of PCI-X may keep theirs.
    Mixed,
}

/// Whether requests are a supervisor's, as those of an engine that runs its own firmware may be, or a user's, as PCI requests
/// without a process address space id are (PCI Express base specification 6.0, 6.20.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// A user's.
    #[default]
    Unprivileged,
    /// A supervisor's.
    Privileged,
}

/// What a requester did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaCounters {
    /// Bytes read from memory.
    pub read_bytes: u64,
    /// Bytes written to memory, messages not counted.
    pub written_bytes: u64,
    /// Requests that did not reach memory.
    pub refused: u64,
}

impl Requester {
    /// The function at `device` (0 to 31) and `function` (0 to 7), which drives `address_lines` (12 to 64)
    /// address lines, behind the bridges `upstream`. It is on bus 0 until it is told otherwise, and no bus
    /// master.
    pub fn new(
        device: u8,
        function: u8,
        address_lines: u32,
        upstream: Vec<Arc<Requester>>,
    ) -> Self {
        Self {
            device_function: (device << 3) | (function & 7),
            bus: AtomicU8::new(0),
            master: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            pending: AtomicUsize::new(0),
            address_lines: address_lines.clamp(12, 64),
            privilege: Privilege::Unprivileged,
            upstream,
            names: None,
            secondary: AtomicU8::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The same, with requests that are all of `privilege`.
    #[must_use]
    pub fn with_privilege(mut self, privilege: Privilege) -> Self {
        self.privilege = privilege;
        self
    }

    /// What its requests say of themselves.
    pub fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// The same, as a bridge to a conventional bus.
    #[must_use]
    pub fn to_conventional(mut self, names: ConventionalIds) -> Self {
        self.names = Some(names);
        self
    }

    /// The id that a request carries where it leaves the last bridge: the function's own, or one that a bridge took for
    /// it (PCI Express to PCI/PCI-X Bridge specification, 2.3).
    pub fn request_id(&self, access: Access) -> u16 {
        let taken = self.upstream.iter().find_map(|bridge| {
            let behind = u16::from(bridge.secondary.load(Ordering::Acquire)) << 8;
            match (bridge.names?, access) {
                (ConventionalIds::Mixed, Access::Read) => None,
                (ConventionalIds::Bridge | ConventionalIds::Mixed, _) => Some(behind),
            }
        });
        taken.unwrap_or_else(|| self.id())
    }

    /// Bus, device and function, as they are programmed. What its requests carry is
    /// [`request_id`](Self::request_id).
    pub fn id(&self) -> u16 {
        u16::from(self.bus.load(Ordering::Acquire)) << 8 | u16::from(self.device_function)
    }

    /// Device and function: `device << 3 | function`.
    pub fn device_function(&self) -> u8 {
        self.device_function
    }

    /// The port on bus 0 that it is behind, if it is not on bus 0 itself.
    pub(crate) fn root_port(&self) -> Option<&Arc<Requester>> {
        self.upstream.first()
    }

    /// The highest bus address the function can put on the bus.
    pub fn highest_bus(&self) -> u64 {
        u64::MAX >> (64 - self.address_lines)
    }

    /// A configuration write reached the function on this bus.
    pub(crate) fn capture_bus(&self, bus: u8) {
        self.bus.store(bus, Ordering::Release);
    }

    /// The bus behind the bridge was numbered.
    pub(crate) fn capture_secondary(&self, bus: u8) {
        self.secondary.store(bus, Ordering::Release);
    }

    pub(crate) fn set_master(&self, on: bool) {
        self.master.store(on, Ordering::Release);
    }

    /// Whether requests of the function get anywhere: it and each bridge above it is a bus master.
    pub fn is_master(&self) -> bool {
        self.master.load(Ordering::Acquire) && self.upstream.iter().all(|bridge| bridge.is_master())
    }

    /// The function was pulled out: it makes no requests any more.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Whether the function was pulled out.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// A request is on its way until what this returns is dropped.
    pub(crate) fn begin_request(&self) -> PendingRequest<'_> {
        self.pending.fetch_add(1, Ordering::AcqRel);
        PendingRequest(&self.pending)
    }

    /// Requests that are on their way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// What it did so far.
    pub fn counters(&self) -> DmaCounters {
        DmaCounters {
            read_bytes: self.read.load(Ordering::Relaxed),
            written_bytes: self.written.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count(&self, access: Access, len_bytes: u64) {
        let counter = match access {
            Access::Read => &self.read,
            Access::Write => &self.written,
        };
        counter.fetch_add(len_bytes, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request on its way.
pub(crate) struct PendingRequest<'a>(&'a AtomicUsize);

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request that is kept on its way, until this is dropped.
#[derive(Debug)]
pub struct HeldRequest(Arc<Requester>);

impl HeldRequest {
    pub(crate) fn of(requester: &Arc<Requester>) -> Self {
        std::mem::forget(requester.begin_request());
        Self(Arc::clone(requester))
    }
}

impl Drop for HeldRequest {
    fn drop(&mut self) {
        drop(PendingRequest(&self.0.pending));
    }
}
