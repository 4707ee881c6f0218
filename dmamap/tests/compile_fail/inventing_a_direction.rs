use dmamap::map::{Direction, Permission};

#[derive(Clone, Copy, Debug)]
struct Sideways;

impl Direction for Sideways {
    fn permission(self) -> Permission {
        Permission::ReadWrite
    }
}

fn main() {}
