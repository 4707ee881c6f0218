//! What memory a thread's instructions access, told from the registers that it had before each.

use std::collections::HashMap;

use iced_x86::{
    Decoder, DecoderOptions, InstructionInfoFactory, MemorySize, OpAccess, Register, UsedMemory,
};

use super::steps::Registers;

/// Whether memory is loaded or stored, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) loads: bool,
    pub(crate) stores: bool,
}

/// What instructions access, each looked at once.
#[derive(Default)]
pub(crate) struct Decoded(HashMap<u64, Vec<UsedMemory>>);

unsafe extern "Rust" {
    // The process's register accesses, which `safe-mmio` has by these names. They are named here, and not called.
    safe fn __safe_mmio_read_u8();
    safe fn __safe_mmio_read_u16();
    safe fn __safe_mmio_read_u32();
    safe fn __safe_mmio_read_u64();
    safe fn __safe_mmio_write_u8();
    safe fn __safe_mmio_write_u16();
    safe fn __safe_mmio_write_u32();
    safe fn __safe_mmio_write_u64();
}

/// Where register accesses begin. What is behind one is hardware's.
fn registers() -> [u64; 8] {
    [
        __safe_mmio_read_u8,
        __safe_mmio_read_u16,
        __safe_mmio_read_u32,
        __safe_mmio_read_u64,
        __safe_mmio_write_u8,
        __safe_mmio_write_u16,
        __safe_mmio_write_u32,
        __safe_mmio_write_u64,
    ]
    .map(|function: fn()| function as usize as u64)
}

impl Decoded {
    /// Tells `visit` of each access of `steps`: where it is, how many bytes, which, and by which instruction. Left out are register accesses
    /// with all that is behind them, and what is the thread's by its segment.
    pub(crate) fn each(
        &mut self,
        steps: &[Registers],
        mut visit: impl FnMut(u64, u64, Access, u64),
    ) {
        let hardware = registers();
        // Until the stack is shorter than at the call, the hardware has the thread.
        let mut away_until = None;
        for step in steps {
            let (ip, stack) = (step[libc::REG_RIP as usize], step[libc::REG_RSP as usize]);
            match away_until {
                Some(called) if stack <= called => continue,
                _ => away_until = None,
            }
            if hardware.contains(&ip) {
                away_until = Some(stack);
                continue;
            }
            let used = self.0.entry(ip).or_insert_with(|| decode(ip));
            for memory in used.iter() {
                let access = access(memory.access());
                let at = memory.virtual_address(0, |register, _, _| value(step, register));
                if let (Some(at), true) = (at, access != Access::default()) {
                    visit(at, bytes(memory.memory_size()), access, ip);
                }
            }
        }
    }
}

/// Most bytes of an instruction, and bytes of a page.
const LONGEST: u64 = 15;
const PAGE: u64 = 4096;

/// The memory that the instruction at `ip` uses.
fn decode(ip: u64) -> Vec<UsedMemory> {
    let decoded = |len_bytes: u64| {
        let start = std::ptr::with_exposed_provenance::<u8>(ip as usize);
        // SAFETY: the thread was about to execute this. An instruction lies in its page, or the next one is there as well.
        let code = unsafe { std::slice::from_raw_parts(start, len_bytes as usize) };
        Decoder::with_ip(64, code, ip, DecoderOptions::NONE).decode()
    };
    let mut instruction = decoded(LONGEST.min(PAGE - ip % PAGE));
    if instruction.is_invalid() {
        instruction = decoded(LONGEST);
    }
    assert!(!instruction.is_invalid(), "no instruction at {ip:#x}");
    let mut factory = InstructionInfoFactory::new();
    factory.info(&instruction).used_memory().to_vec()
}

fn access(of: OpAccess) -> Access {
    let (loads, stores) = match of {
        OpAccess::Read | OpAccess::CondRead => (true, false),
        OpAccess::Write | OpAccess::CondWrite => (false, true),
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
        OpAccess::None | OpAccess::NoMemAccess => (false, false),
    };
    Access { loads, stores }
}

fn bytes(size: MemorySize) -> u64 {
    // Those of no size of their own save a processor's state, on the stack.
    size.size().max(1) as u64
}

/// A register's value; `None` of a segment that is a thread's own, and of what no address of a program of this kind is made of.
fn value(step: &Registers, register: Register) -> Option<u64> {
    let number = match register {
        Register::CS | Register::DS | Register::ES | Register::SS => return Some(0),
        Register::RAX => libc::REG_RAX,
        Register::RBX => libc::REG_RBX,
        Register::RCX => libc::REG_RCX,
        Register::RDX => libc::REG_RDX,
        Register::RSI => libc::REG_RSI,
        Register::RDI => libc::REG_RDI,
        Register::RBP => libc::REG_RBP,
        Register::RSP => libc::REG_RSP,
        Register::R8 => libc::REG_R8,
        Register::R9 => libc::REG_R9,
        Register::R10 => libc::REG_R10,
        Register::R11 => libc::REG_R11,
        Register::R12 => libc::REG_R12,
        Register::R13 => libc::REG_R13,
        Register::R14 => libc::REG_R14,
        Register::R15 => libc::REG_R15,
        _ => return None,
    };
    Some(step[number as usize])
}
