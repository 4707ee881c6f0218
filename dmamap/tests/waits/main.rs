//! What units are asked and how often they are waited for, as their models count it, for every kind of unit that walks tables.

mod did;
mod per_mib;
mod shared;
