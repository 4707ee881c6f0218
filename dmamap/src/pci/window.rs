//! A bridge's windows: which it has, and what it forwards through them (bus addresses, A).

use hw::pci::bridge::{
    IO_BASE, IO_BASE_UPPER, IO_LIMIT_UPPER, IoWindow, MEMORY_BASE, MemoryWindow, PREFETCHABLE_BASE,
    PREFETCHABLE_BASE_UPPER, PREFETCHABLE_LIMIT_UPPER, PrefetchableWindow,
};

use super::assign::{BridgeAbility, Prefetchable};
use super::config::FunctionConfig;
use crate::bridge::WindowKind;
use crate::platform::Platform;

/// What a bridge can forward: windows that keep a value written to them exist. They are closed afterwards.
pub(crate) fn ability<P: Platform>(
    config: &FunctionConfig<P>,
    above: Option<usize>,
) -> BridgeAbility {
    config.write(IO_BASE, IoWindow::CLOSED.into_bits());
    let io = IoWindow::from_bits(config.read(IO_BASE));
    config.write(IO_BASE_UPPER, 0u32);
    config.write(MEMORY_BASE, MemoryWindow::CLOSED.into_bits());
    config.write(PREFETCHABLE_BASE, PrefetchableWindow::CLOSED.into_bits());
    let prefetchable = PrefetchableWindow::from_bits(config.read(PREFETCHABLE_BASE));
    config.write(PREFETCHABLE_BASE_UPPER, 0u32);
    config.write(PREFETCHABLE_LIMIT_UPPER, 0u32);
    let io_last = match io.base_width() {
        IoWindow::WIDTH_32 => 0xffff_ffff,
        _ => 0xffff,
    };
    let wide =
        prefetchable.base() != 0 && prefetchable.base_width() == PrefetchableWindow::WIDTH_64;
    BridgeAbility {
        above,
        io_last: (io.base() != 0).then_some(io_last),
        prefetchable: if wide {
            Prefetchable::Bits64
        } else {
            Prefetchable::Unusable
        },
    }
}

/// Writes a bridge's window, first and last address, or closes it; whether the bridge keeps it.
pub(crate) fn write<P: Platform>(
    config: &FunctionConfig<P>,
    kind: WindowKind,
    range: Option<(u64, u64)>,
) -> bool {
    let (first, last) = range.unwrap_or_default();
    let high = |value: u64| (value >> 32) as u32;
    match kind {
        WindowKind::Io => {
            let window = match range {
                Some(_) => IoWindow::new()
                    .with_base(first as u16)
                    .with_last(last as u16),
                None => IoWindow::CLOSED,
            };
            config.write(IO_BASE, window.into_bits());
            config.write(IO_BASE_UPPER, (first >> 16) as u16);
            config.write(IO_LIMIT_UPPER, (last >> 16) as u16);
            let kept = IoWindow::from_bits(config.read(IO_BASE));
            let upper: [u16; 2] = [config.read(IO_BASE_UPPER), config.read(IO_LIMIT_UPPER)];
            let wide = kept.base_width() == IoWindow::WIDTH_32;
            kept.base() == window.base()
                && kept.last() == window.last()
                && (!wide || upper == [(first >> 16) as u16, (last >> 16) as u16])
        }
        WindowKind::Memory => {
            let window = match range {
                Some(_) => MemoryWindow::new()
                    .with_base(first as u32)
                    .with_last(last as u32),
                None => MemoryWindow::CLOSED,
            };
            config.write(MEMORY_BASE, window.into_bits());
            let kept = MemoryWindow::from_bits(config.read(MEMORY_BASE));
            kept.base() == window.base() && kept.last() == window.last()
        }
        WindowKind::PrefetchableMemory => {
            let window = match range {
                Some(_) => PrefetchableWindow::new()
                    .with_base(first as u32)
                    .with_last(last as u32),
                None => PrefetchableWindow::CLOSED,
            };
            config.write(PREFETCHABLE_BASE, window.into_bits());
            config.write(PREFETCHABLE_BASE_UPPER, high(first));
            config.write(PREFETCHABLE_LIMIT_UPPER, high(last));
            let kept = PrefetchableWindow::from_bits(config.read(PREFETCHABLE_BASE));
            let upper: [u32; 2] = [
                config.read(PREFETCHABLE_BASE_UPPER),
                config.read(PREFETCHABLE_LIMIT_UPPER),
            ];
            kept.base() == window.base()
                && kept.last() == window.last()
                && upper == [high(first), high(last)]
        }
    }
}
