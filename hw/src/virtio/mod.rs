//! virtio-iommu and the transports it sits on. Section numbers are those of *Virtual I/O Device (VIRTIO) Version 1.3*.
