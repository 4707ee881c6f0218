//! A machine with somebody who looks at it each time the CPU has touched it.

use std::sync::{Arc, Weak};

use board::between::Between;
use board::hardware::{CacheOperation, Hardware, InterruptSink, Width};
use machine::Machine;

/// What the CPU did, or was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It read a register.
    Read {
        /// Where.
        phys: u64,
        /// What it was told.
        value: u64,
    },
    /// It wrote a register.
    Wrote {
        /// Where.
        phys: u64,
        /// What.
        value: u64,
    },
    /// It wrote these bytes of its caches back.
    Cleaned {
        /// The first of them.
        phys: u64,
        /// How many.
        len_bytes: u64,
    },
    /// A message of a device reached it.
    Interrupted {
        /// Where the device wrote.
        bus: u64,
        /// What.
        data: u32,
    },
}

/// Looks at the machine right after a touch, on the thread that did it.
pub trait Observer: Fn(&Machine, Touch) + Send + Sync + 'static {}
impl<F: Fn(&Machine, Touch) + Send + Sync + 'static> Observer for F {}

/// The machine and its observer.
pub struct Observed<F> {
    machine: Arc<Machine>,
    observer: Arc<F>,
}

/// Where the machine's interrupts pass by. The machine keeps it, so it does not keep the machine.
struct Wire<F> {
    machine: Weak<Machine>,
    observer: Arc<F>,
    sink: Arc<dyn InterruptSink>,
}

impl<F: Observer> InterruptSink for Wire<F> {
    fn deliver(&self, bus: u64, data: u32) {
        self.sink.deliver(bus, data);
        if let Some(machine) = self.machine.upgrade() {
            (self.observer)(&machine, Touch::Interrupted { bus, data });
        }
    }
}

impl<F: Observer> Observed<F> {
    /// To boot a kernel on in the machine's place.
    pub fn new(machine: Arc<Machine>, observer: F) -> Arc<Self> {
        let observer = Arc::new(observer);
        Arc::new(Self { machine, observer })
    }
}

impl<F: Observer> Between for Observed<F> {
    fn board(&self) -> &dyn Hardware {
        &*self.machine
    }

    fn on_read(&self, phys: u64, width: Width) -> u64 {
        let value = self.machine.read(phys, width);
        (self.observer)(&self.machine, Touch::Read { phys, value });
        value
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        self.machine.write(phys, width, value);
        (self.observer)(&self.machine, Touch::Wrote { phys, value });
    }

    fn on_connect(&self, sink: Arc<dyn InterruptSink>) {
        self.machine.connect_interrupts(Arc::new(Wire {
            machine: Arc::downgrade(&self.machine),
            observer: self.observer.clone(),
            sink,
        }));
    }

    fn on_maintain(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        self.machine.maintain_cache(operation, phys, len_bytes);
        if operation == CacheOperation::Clean {
            (self.observer)(&self.machine, Touch::Cleaned { phys, len_bytes });
        }
    }
}
