use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::device::Device;
use dmamap::map::ToDevice;
use dmamap::platform::Platform;

fn example<P: Platform>(device: &Device<P>, mut list: ScatterList<DmaBuffer<P>>) {
    let _mapping = device.map_sgtable(list, ToDevice);
    list.entry_mut(0).unwrap().buffer_mut().as_mut_slice()[0] = 1;
}

fn main() {}
