//! The device's own configuration, field by field.

use dmamap::mmio::Mmio;
use dmamap::platform::Platform;
use virtio_drivers::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The bytes of one access to a field of `T`: fields are accessed as wide as they are, and no wider than 4 bytes (VIRTIO
/// 4.1.3.1).
fn access_bytes<T>() -> usize {
    align_of::<T>().min(4)
}

/// The field of type `T` at byte `offset` of `config`.
pub(super) fn read<P: Platform, T: FromBytes + IntoBytes>(
    config: &Mmio<P>,
    offset: usize,
) -> Result<T, Error> {
    let mut value = T::new_zeroed();
    let width = access_bytes::<T>();
    for (index, part) in value.as_mut_bytes().chunks_mut(width).enumerate() {
        let at = (offset + index * width) as u64;
        let read = match width {
            1 => config.register::<u8>(at).map(|byte| byte.read().into()),
            2 => config.register::<u16>(at).map(|half| half.read().into()),
            _ => config.register::<u32>(at).map(|word| word.read()),
        };
        let word = read.map_err(|_| Error::ConfigSpaceTooSmall)?;
        part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
    }
    Ok(value)
}

/// Changes the field of type `T` at byte `offset` of `config`.
pub(super) fn write<P: Platform, T: IntoBytes + Immutable>(
    config: &Mmio<P>,
    offset: usize,
    value: T,
) -> Result<(), Error> {
    let width = access_bytes::<T>();
    for (index, part) in value.as_bytes().chunks(width).enumerate() {
        let at = (offset + index * width) as u64;
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        let word = u32::from_le_bytes(word);
        let written = match width {
            1 => config.register(at).map(|byte| byte.write(word as u8)),
            2 => config.register(at).map(|half| half.write(word as u16)),
            _ => config.register(at).map(|whole| whole.write(word)),
        };
        written.map_err(|_| Error::ConfigSpaceTooSmall)?;
    }
    Ok(())
}
