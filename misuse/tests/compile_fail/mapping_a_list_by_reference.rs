use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::device::Device;
use dmamap::map::ToDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, list: ScatterList<DmaBuffer<P>>) {
    let _mapping = device.map_sgtable(&list, ToDevice);
    let _again = device.map_sgtable(&list, ToDevice);
}

fn main() {}
