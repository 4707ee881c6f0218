//! Where in RAM the entries lie that lead a unit from the device to what is mapped for it.

pub mod riscv;
pub mod smmu;
pub mod vtd;
