/*
 * What the benchmark calls. Each function does for one call of it what Linux's own callers (dma-iommu.c, iommu.c,
 * arm-smmu-v3.c) do around iova.c and io-pgtable-arm.c, less the unit itself.
 */
#include <linux/io-pgtable.h>
#include <linux/iova.h>

#define EXPORTED __attribute__((visibility("default")))
#define INPUT_BITS 48
#define OUTPUT_BITS 48

/* Which CPU this thread is, from 0 on. */
EXPORTED int peers_thread_is(unsigned long cpu)
{
    if (cpu >= PEERS_CPUS)
        return -EINVAL;
    peers_cpu = cpu;
    return 0;
}

/* Bus addresses. */

EXPORTED struct iova_domain *peers_iova_new(void)
{
    struct iova_domain *domain = calloc(1, sizeof(*domain));

    if (!domain)
        return NULL;
    if (iova_cache_get())
        goto out;
    /* Page 0 is kept free, as dma-iommu.c does. */
    init_iova_domain(domain, PAGE_SIZE, 1);
    if (!iova_domain_init_rcaches(domain))
        return domain;
    iova_cache_put();
out:
    free(domain);
    return NULL;
}

EXPORTED void peers_iova_drop(struct iova_domain *domain)
{
    put_iova_domain(domain);
    /* With the last domain its memory goes. */
    iova_cache_put();
    free(domain);
}

/* The first page of `count` pages; 0 if there are none. */
EXPORTED unsigned long peers_iova_allocate(struct iova_domain *domain, unsigned long count)
{
    return alloc_iova_fast(domain, count, (1UL << (INPUT_BITS - PAGE_SHIFT)) - 1, true);
}

EXPORTED void peers_iova_free(struct iova_domain *domain, unsigned long page, unsigned long count)
{
    free_iova_fast(domain, page, count);
}

/* As when the caches are full: to the tree. */
EXPORTED void peers_iova_free_to_tree(struct iova_domain *domain, unsigned long page) { free_iova(domain, page); }

/* Page tables. */

static void flush_all(void *cookie) {}

static void flush_walk(unsigned long iova, size_t size, size_t granule, void *cookie) {}

/* A page behind those gathered before joins them; any other begins anew, as none of the loads has such. */
static void add_page(struct iommu_iotlb_gather *gather, unsigned long iova, size_t granule, void *cookie)
{
    if (iova != gather->first + gather->bytes || granule != gather->page) {
        gather->first = iova;
        gather->page = granule;
        gather->bytes = 0;
    }
    gather->bytes += granule;
}

static const struct iommu_flush_ops flush_ops = {
    .tlb_flush_all = flush_all,
    .tlb_flush_walk = flush_walk,
    .tlb_add_page = add_page,
};

/* Stage 1, 64 bits, granule 4 KiB, walks that snoop. */
EXPORTED struct io_pgtable_ops *peers_table_new(void)
{
    struct io_pgtable_cfg cfg = {
        .pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G,
        .ias = INPUT_BITS,
        .oas = OUTPUT_BITS,
        .coherent_walk = true,
        .tlb = &flush_ops,
    };
    struct io_pgtable *table = io_pgtable_arm_64_lpae_s1_init_fns.alloc(&cfg, NULL);

    if (!table)
        return NULL;
    table->fmt = ARM_64_LPAE_S1;
    table->cookie = NULL;
    table->cfg = cfg;
    return &table->ops;
}

EXPORTED void peers_table_drop(struct io_pgtable_ops *ops)
{
    io_pgtable_arm_64_lpae_s1_init_fns.free(io_pgtable_ops_to_pgtable(ops));
}

static __always_inline int map(struct io_pgtable_ops *ops, unsigned long iova, phys_addr_t phys, size_t page, size_t len)
{
    while (len) {
        size_t mapped = 0;
        int error = ops->map_pages(ops, iova, phys, page, len / page, IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE,
                                   GFP_ATOMIC, &mapped);
        if (error)
            return error;
        iova += mapped;
        phys += mapped;
        len -= mapped;
    }
    return 0;
}

/* `len` bytes side by side, in pages of `page`. */
EXPORTED int peers_table_map(struct io_pgtable_ops *ops, unsigned long iova, phys_addr_t phys, size_t page, size_t len)
{
    return map(ops, iova, phys, page, len);
}

/* `count` pages of 4 KiB that lie apart. */
EXPORTED int peers_table_map_list(struct io_pgtable_ops *ops, unsigned long iova, const phys_addr_t *list, size_t count)
{
    for (size_t n = 0; n < count; n++, iova += PAGE_SIZE) {
        int error = map(ops, iova, list[n], PAGE_SIZE, PAGE_SIZE);
        if (error)
            return error;
    }
    return 0;
}

/* Returns the bytes that are to be invalidated. */
EXPORTED size_t peers_table_unmap(struct io_pgtable_ops *ops, unsigned long iova, size_t page, size_t len)
{
    struct iommu_iotlb_gather gather = { 0 };

    while (len) {
        size_t unmapped = ops->unmap_pages(ops, iova, page, len / page, &gather);
        if (!unmapped)
            break;
        iova += unmapped;
        len -= unmapped;
    }
    return gather.bytes;
}

/* Where `iova` leads; 0 if nowhere. */
EXPORTED phys_addr_t peers_table_translate(struct io_pgtable_ops *ops, unsigned long iova)
{
    return ops->iova_to_phys(ops, iova);
}
