//! First-stage page-table entries, those of x86-64 (section 9.9).
