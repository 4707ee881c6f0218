//! A thread that goes one instruction at a time, and what its registers held before each.
//!
//! The processor traps after every instruction while a flag is set; the kernel makes a signal of it, whose handler copies the registers into
//! room that was there before. Nothing else is done in a handler: what the instructions access is worked out afterwards
//! ([`super::accesses`]). Other threads run as ever.

use std::arch::asm;
use std::cell::Cell;
use std::ptr;
use std::sync::Once;

use libc::{c_int, c_void, siginfo_t, ucontext_t};

/// The general registers, the instruction pointer among them, in the order of `gregs`.
pub(crate) type Registers = [u64; COUNT];

const COUNT: usize = libc::REG_RIP as usize + 1;

thread_local! {
    /// Where the handler puts what it sees. Without a destructor, and there from the thread's start, so that asking is one load.
    static ROOM: Cell<*mut Room> = const { Cell::new(ptr::null_mut()) };
}

struct Room {
    steps: Vec<Registers>,
    /// More than there was room for.
    lost: bool,
}

/// What `work` does, an instruction each, in the room of `steps`, which are forgotten.
///
/// # Panics
/// When there were more than there was room for.
pub(crate) fn of(mut steps: Vec<Registers>, work: impl FnOnce()) -> Vec<Registers> {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(install);
    steps.clear();
    let mut room = Room { steps, lost: false };
    ROOM.set(&raw mut room);
    let going = Going::begin();
    work();
    drop(going);
    ROOM.set(ptr::null_mut());
    assert!(!room.lost, "there is no room for all instructions");
    room.steps
}

/// While it lives the processor traps on this thread.
struct Going;

impl Going {
    fn begin() -> Self {
        // SAFETY: the handler is there. It is one flag that changes, of which no code but the processor takes notice.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
        Self
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
    }
}

fn install() {
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_trap;
    // SAFETY: all zeros are such a value: no flags, and no signal held off.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the handler does what a handler may: it loads and stores.
    let done = unsafe { libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()) };
    assert_eq!(done, 0, "no handler for traps");
}

extern "C" fn on_trap(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let room = ROOM.get();
    if room.is_null() {
        return;
    }
    // SAFETY: the kernel passes what it saved of the interrupted thread.
    let context = unsafe { &*context.cast::<ucontext_t>() };
    // SAFETY: set by this thread, in `of`, which touches the room no more until it has unset it; a handler of a signal is not interrupted by
    // the same.
    let room = unsafe { &mut *room };
    if room.steps.len() == room.steps.capacity() {
        room.lost = true;
        return;
    }
    let saved = &context.uc_mcontext.gregs;
    room.steps
        .push(std::array::from_fn(|number| saved[number] as u64));
}
