use dmamap::addr::{BusAddr, PhysRange};
use dmamap::map::{Permission, UnmanagedDomain};
use dmamap::platform::Platform;

fn example<P: Platform>(domain: &UnmanagedDomain<P>, memory: PhysRange) {
    let _ = domain.map(BusAddr::new(0x1000), memory, Permission::ReadWrite);
}

fn main() {}
