//! Page-table entries: VMSAv8-64 descriptors (Arm Architecture Reference Manual, D8.3).
