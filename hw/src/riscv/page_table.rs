//! Page-table entries: Sv39, Sv48, Sv57 and their x4 forms (RISC-V privileged specification, 12.4 to 12.6).
