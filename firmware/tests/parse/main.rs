//! Tables are read as they are meant, and each kind of damage is told by name and place.

#[expect(unreachable_pub, reason = "the documentation's examples share it")]
#[path = "../example/mod.rs"]
mod example;

mod damage;
mod device_memory;
mod devicetree;
mod dmar;
mod iort;
mod ivrs;
mod largest;
mod mcfg;
mod qemu;
mod rimt;
mod tables;
mod viot;

use firmware::{Damage, Signature, TableError};

/// The error that says `damage` of byte `offset` of table `signature`.
fn error<T>(signature: Signature, offset: usize, damage: Damage) -> Result<T, TableError> {
    Err(TableError {
        signature,
        offset,
        damage,
    })
}
