//! Primary fault logging (7.2, 7.3): fault recording registers, fault status, and when the fault interrupt fires.

use hw::vtd::fault::FaultRecord;
use hw::vtd::regs::FaultStatus;

use super::config::FaultCollapse;
use super::event::Event;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// It has a record.
    Recorded,
    /// A record of its requester was there already.
    Collapsed,
    /// No record was free: it is lost, and `PFO` says so.
    Lost,
}

/// Fault recording registers and fault status.
#[derive(Debug)]
pub(super) struct FaultLog {
    records: Vec<FaultRecord>,
    /// The record the next fault goes to; they are used in turn.
    next: usize,
    /// `PFO`, `IQE` and `FRI`; `PPF` is computed.
    status: FaultStatus,
    collapse: FaultCollapse,
    pub(super) event: Event,
}

impl FaultLog {
    pub(super) fn new(records: u32, collapse: FaultCollapse, event: Event) -> Self {
        Self {
            records: vec![FaultRecord::new(); records as usize],
            next: 0,
            status: FaultStatus::new(),
            collapse,
            event,
        }
    }

    /// Logs a fault (7.3.1).
    pub(super) fn log(&mut self, fault: FaultRecord) -> Logged {
        // 1. While the overflow is not cleared nothing is recorded.
        if self.status.pfo() {
            return Logged::Lost;
        }
        // 2. A pending record of the same requester may stand for this fault too.
        let pending = |record: &FaultRecord| record.f() && record.sid() == fault.sid();
        if self.collapse == FaultCollapse::SameRequester && self.records.iter().any(pending) {
            return Logged::Collapsed;
        }
        // 3. The next register is still in use: overflow.
        if self.records[self.next].f() {
            self.condition(|log| log.status.set_pfo(true));
            return Logged::Lost;
        }
        // 4. Record; the first pending fault sets PPF and with it FRI.
        let index = self.next;
        self.next = (index + 1) % self.records.len();
        self.condition(|log| {
            if !log.status().ppf() {
                log.status.set_fri(index as u8);
            }
            log.records[index] = fault.with_f(true);
        });
        Logged::Recorded
    }

    /// The invalidation queue stopped at an error.
    pub(super) fn set_queue_error(&mut self) {
        self.condition(|log| log.status.set_iqe(true));
    }

    /// Whether the invalidation queue is stopped by an error.
    pub(super) fn queue_error(&self) -> bool {
        self.status.iqe()
    }

    /// `FSTS_REG`.
    pub(super) fn status(&self) -> FaultStatus {
        self.status
            .with_ppf(self.records.iter().any(|record| record.f()))
    }

    /// Software wrote `FSTS_REG`: ones clear.
    pub(super) fn write_status(&mut self, value: FaultStatus) {
        self.status.set_pfo(self.status.pfo() && !value.pfo());
        self.status.set_iqe(self.status.iqe() && !value.iqe());
        self.cleared();
    }

    /// Both words of a fault recording register.
    pub(super) fn record(&self, index: usize) -> [u64; 2] {
        self.records
            .get(index)
            .map_or([0; 2], |record| record.to_words())
    }

    /// Software wrote 1 to the F bit of a record.
    pub(super) fn free_record(&mut self, index: usize) {
        if let Some(record) = self.records.get_mut(index) {
            record.set_f(false);
        }
        self.cleared();
    }

    fn any_condition(&self) -> bool {
        let status = self.status();
        status.ppf() || status.pfo() || status.iqe()
    }

    /// Applies `change`; it is a new interrupt condition only if none was pending (11.4.7.2).
    fn condition(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.any_condition();
        change(self);
        if !before {
            self.event.raise();
        }
    }

    fn cleared(&mut self) {
        if !self.any_condition() {
            self.event.serviced();
        }
    }
}
