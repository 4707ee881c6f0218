use dmamap::map::{AnyDirection, Direction, Permission};

#[derive(Clone, Copy, Debug)]
struct Sideways;

impl Direction for Sideways {
    fn any(self) -> AnyDirection {
        AnyDirection::ToDevice
    }

    fn permission(self) -> Permission {
        Permission::ReadWrite
    }
}

fn main() {}
