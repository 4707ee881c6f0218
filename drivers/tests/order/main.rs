//! In what order drivers touch memory, barriers and registers: each barrier of theirs is missed here when it is gone, also where
//! the processor that runs this would have kept the order by itself.

mod edu;
mod nvme;
mod testdev;
mod virtio;
mod witness;
