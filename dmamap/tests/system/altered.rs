//! A machine of models that is gone for a while, does not hear something, or lets a test in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use board::between::Between;
use board::hardware::{Hardware, Width};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::{Machine, MachineConfig};
use rig::Rig;

/// What the kernel does with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It waits.
    Waits,
    /// It has written there.
    Wrote(u64),
}

/// Whether the test comes in between once more.
pub(crate) enum Again {
    Yes,
    No,
}

type Visit = Box<dyn FnMut(Doing) -> Again + Send>;

pub(crate) struct Altered {
    machine: Arc<Machine>,
    is_away: AtomicBool,
    deaf_to: Mutex<Option<u64>>,
    /// Registers that read as all ones, and how often yet.
    late: Mutex<Vec<(u64, usize)>>,
    between: Mutex<Option<Visit>>,
}

/// What a mutex holds, also after a test failed in between.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Altered {
    /// Boots a kernel on the machine.
    pub(crate) fn boot(config: MachineConfig, options: BootOptions) -> (Arc<Self>, Rig) {
        let machine = Machine::boot(config).expect("a machine");
        let altered = Arc::new(Self {
            machine: machine.clone(),
            is_away: AtomicBool::new(false),
            deaf_to: Mutex::new(None),
            late: Mutex::new(Vec::new()),
            between: Mutex::new(None),
        });
        let kernel = Hosted::boot(altered.clone()).expect("a kernel");
        let rig = Rig::boot_on(machine, kernel, kernel, options).expect("it boots");
        (altered, rig)
    }

    /// From now on no register answers.
    pub(crate) fn go(&self) {
        self.is_away.store(true, Ordering::Release);
    }

    /// Ends [`go`](Self::go).
    pub(crate) fn come_back(&self) {
        self.is_away.store(false, Ordering::Release);
    }

    /// From now on what is written there is lost.
    pub(crate) fn does_not_hear(&self, phys: u64) {
        *held(&self.deaf_to) = Some(phys);
    }

    /// The next `looks` reads of a register find nobody there.
    pub(crate) fn answers_late(&self, phys: u64, looks: usize) {
        held(&self.late).push((phys, looks));
    }

    /// Whether the register does not answer this once.
    fn is_late(&self, phys: u64) -> bool {
        let mut late = held(&self.late);
        let register = late
            .iter_mut()
            .find(|(register, looks)| *register == phys && *looks > 0);
        register.is_some_and(|(_, looks)| {
            *looks -= 1;
            true
        })
    }

    /// Calls `between`, on the thread of whoever uses the machine, until it has enough. What it does itself to the machine
    /// is not told to it.
    pub(crate) fn come_in_between(&self, between: impl FnMut(Doing) -> Again + Send + 'static) {
        *held(&self.between) = Some(Box::new(between));
    }

    fn tell(&self, doing: Doing) {
        let Some(mut between) = held(&self.between).take() else {
            return;
        };
        if let Again::Yes = between(doing) {
            *held(&self.between) = Some(between);
        }
    }
}

impl Between for Altered {
    fn board(&self) -> &dyn Hardware {
        &*self.machine
    }

    fn on_read(&self, phys: u64, width: Width) -> u64 {
        match self.is_away.load(Ordering::Acquire) || self.is_late(phys) {
            true => width.ones(),
            false => self.machine.read(phys, width),
        }
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        let is_heard = *held(&self.deaf_to) != Some(phys);
        if is_heard && !self.is_away.load(Ordering::Acquire) {
            self.machine.write(phys, width, value);
        }
        self.tell(Doing::Wrote(phys));
    }

    fn on_idle(&self) {
        self.machine.idle();
        self.tell(Doing::Waits);
    }
}
