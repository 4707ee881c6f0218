//! Every word, field by field, against constants typed anew from the manuals.

mod amd;
mod amd_page_table;
mod edu;
mod iommu_testdev;
mod nvme;
mod pci;
mod riscv;
mod riscv_page_table;
mod smmu;
mod smmu_page_table;
mod virtio;
mod vtd;
mod vtd_scalable;

/// Asserts of each `(word, bits)` that the word with that field at its maximum has just these bits.
macro_rules! fields {
    ($($word:expr => $bits:expr;)*) => {
        $(assert_eq!($word.into_bits(), $bits, stringify!($word));)*
    };
}
use fields;
