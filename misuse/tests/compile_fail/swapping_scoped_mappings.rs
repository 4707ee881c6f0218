use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::FromDevice;
use dmamap::platform::Platform;

// If this compiled, the first buffer would be borrowed no longer while the device still reaches it.
fn example<P: Platform>(device: &Device<P>, one: &mut DmaBuffer<P>, two: &mut DmaBuffer<P>) {
    let _ = device.map_within(one, FromDevice, |outer| {
        let _ = device.map_within(two, FromDevice, |inner| std::mem::swap(outer, inner));
    });
}

fn main() {}
