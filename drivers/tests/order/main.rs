//! In what order drivers touch memory, barriers and registers: each barrier of theirs is missed here when it is gone, also where
//! the processor that runs this would have kept the order by itself.

mod edu;
mod nvme;
#[path = "../../../dmamap/tests/support/observed.rs"]
mod observed;
#[path = "../../../dmamap/tests/support/rig.rs"]
mod rig;
mod testdev;
mod virtio;
mod witness;
